// SPDX-License-Identifier: Apache-2.0
#include "plan/stage_partition.h"

#include <algorithm>
#include <charconv>
#include <numeric>

namespace penstock {

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
