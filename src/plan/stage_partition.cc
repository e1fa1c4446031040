// SPDX-License-Identifier: Apache-2.0
#include "plan/stage_partition.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kTie = 1 + 1e-9;  // costs that differ by rounding are equal

// Layers [first, last) on one stage, in constant time.
class SpanCosts {
 public:
  explicit SpanCosts(const LayerCosts& costs) : costs_(costs), sums_(costs.layers.size() + 1) {
    std::partial_sum(costs.layers.begin(), costs.layers.end(), sums_.begin() + 1);
  }
  size_t num_layers() const { return costs_.layers.size(); }
  double operator()(size_t first, size_t last) const {
    return sums_[last] - sums_[first] + (first == 0 ? costs_.embedding : 0) +
           (last == num_layers() ? costs_.head : 0);
  }

 private:
  const LayerCosts& costs_;
  std::vector<double> sums_;
};

// best[s][n]: the first n layers on s stages; `join` combines what there is with one more stage. The first
// layer of each stage comes back, [num_stages + 1]. Infinite where there is none.
template <typename Join>
double BestCuts(const SpanCosts& costs, int32_t num_stages, Join join, std::vector<size_t>* cuts) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  const size_t num_layers = costs.num_layers(), stages = static_cast<size_t>(num_stages);
  std::vector<std::vector<double>> best(stages + 1, std::vector<double>(num_layers + 1, kNone));
  std::vector<std::vector<size_t>> cut(stages + 1, std::vector<size_t>(num_layers + 1));
  best[0][0] = 0;
  for (size_t s = 1; s <= stages; ++s) {
    for (size_t n = s; n <= num_layers - (stages - s); ++n) {
      for (size_t first = s - 1; first < n; ++first) {
        if (best[s - 1][first] == kNone) continue;
        const double joined = join(best[s - 1][first], costs(first, n));
        if (joined >= best[s][n]) continue;
        best[s][n] = joined;
        cut[s][n] = first;
      }
    }
  }
  cuts->assign(stages + 1, num_layers);
  for (size_t s = stages; s > 0; --s) (*cuts)[s - 1] = cut[s][(*cuts)[s]];
  return best[stages][num_layers];
}

double Largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

}  // namespace

std::vector<double> LayerCosts::StageCosts(std::span<const int32_t> partition) const {
  const SpanCosts costs(*this);
  std::vector<double> stages;
  size_t first = 0;
  for (int32_t count : partition) {
    stages.push_back(costs(first, first + count));
    first += count;
  }
  CHECK_EQ(first, layers.size());
  return stages;
}

Result<std::vector<int32_t>> BalancedStagePartition(const LayerCosts& costs, int32_t num_stages) {
  const auto num_layers = static_cast<int32_t>(costs.layers.size());
  ASSIGN_OR_RETURN(std::vector<int32_t> partition, DefaultStagePartition(num_layers, num_stages));
  const SpanCosts span_costs(costs);
  std::vector<size_t> cuts;
  const auto larger = [](double before, double stage) { return std::max(before, stage); };
  const double least = BestCuts(span_costs, num_stages, larger, &cuts);
  if (Largest(costs.StageCosts(partition)) <= least * kTie) return partition;
  const auto squares = [&](double before, double stage) {
    return stage <= least * kTie ? before + stage * stage : std::numeric_limits<double>::infinity();
  };
  BestCuts(span_costs, num_stages, squares, &cuts);
  for (int32_t s = 0; s < num_stages; ++s) partition[s] = static_cast<int32_t>(cuts[s + 1] - cuts[s]);
  return partition;
}

LayerCosts ScaleToMeasured(LayerCosts costs, std::span<const int32_t> partition,
                           std::span<const double> measured) {
  const std::vector<double> expected = costs.StageCosts(partition);
  CHECK_EQ(measured.size(), expected.size());
  size_t layer = 0;
  for (size_t s = 0; s < expected.size(); ++s) {
    CHECK_GT(measured[s], 0);
    const double factor = expected[s] > 0 ? measured[s] / expected[s] : 1;
    for (int32_t i = 0; i < partition[s]; ++i) costs.layers[layer++] *= factor;
    if (s == 0) costs.embedding *= factor;
    if (s + 1 == expected.size()) costs.head *= factor;
  }
  return costs;
}

Result<std::vector<int32_t>> DefaultStagePartition(int32_t num_layers, int32_t num_stages) {
  CHECK_GT(num_stages, 0);
  if (num_layers < num_stages) {
    return InvalidArgument("pipeline of {} stages: the model has {} layers, every stage needs at least one",
                           num_stages, num_layers);
  }
  std::vector<int32_t> layers(num_stages, num_layers / num_stages);
  const int32_t remainder = num_layers % num_stages;
  for (int32_t i = 0; i < remainder; ++i) ++layers[num_stages - 2 - i];  // remainder < num_stages: index >= 0
  return layers;
}

Result<std::vector<int32_t>> ParseStagePartition(std::string_view text, int32_t num_layers,
                                                 int32_t num_stages) {
  std::vector<int32_t> layers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view item = text.substr(begin, end - begin);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    int32_t count = 0;
    const auto [stop, error] = std::from_chars(item.data(), item.data() + item.size(), count);
    if (error != std::errc() || stop != item.data() + item.size() || count <= 0) {
      return InvalidArgument("layer partition \"{}\": got \"{}\", expected a number of layers > 0", text,
                             item);
    }
    layers.push_back(count);
    begin = end + 1;
  }
  if (static_cast<int64_t>(layers.size()) != num_stages) {
    return InvalidArgument("layer partition \"{}\": got {} numbers, expected {}, one for each pipeline stage",
                           text, layers.size(), num_stages);
  }
  const int64_t sum = std::accumulate(layers.begin(), layers.end(), int64_t{0});
  if (sum != num_layers) {
    return InvalidArgument("layer partition \"{}\": the sum is {}, expected {}, the model's layers", text,
                           sum, num_layers);
  }
  return layers;
}

}  // namespace penstock
