// EqualFit, in three steps:
//
//   1. over a grid of target times T: cut greedily into the longest chunks that take T, and take the
//   makespan;
//   2. for the numbers of chunks near the best one: the least T with which that number suffices. All chunks,
//   the last
//      one too, then take T: there is no tail;
//   3. round the ends of chunks to where kernels and blocks want them, and, where stages differ, move them
//   one by one
//      as long as the makespan falls.
//
// Lengths are real numbers until the third step.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/prompt_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "plan/chunk_boundaries.h"
#include "plan/slowest_stage.h"

namespace penstock {
namespace {

constexpr int kNumTargets = 24;   // of the grid
constexpr int kNearbyCounts = 2;  // numbers of chunks tried on either side of the grid's best
constexpr int kBisections = 26;   // leave T known to 1e-7
constexpr int64_t kMostChunks = 4096;

// Cuts [pos, pos + len) into chunks of `target_us`.
class Cutter {
 public:
  Cutter(const SlowestStage& slowest, int64_t pos, int64_t len, const PlanLimits& limits)
      : slowest_(slowest), pos_(static_cast<double>(pos)), len_(static_cast<double>(len)), limits_(limits) {
    least_ = std::min<double>(std::max(limits.min_chunk, limits.align), limits.max_chunk);
  }

  // Lengths in `chunks`, if given. Returns their number, or more than `give_up` as soon as there are more.
  int64_t Cut(double target_us, int64_t give_up, std::vector<double>* chunks) const {
    if (limits_.max_step_us > 0) target_us = std::min(target_us, limits_.max_step_us);
    if (chunks != nullptr) chunks->clear();
    int64_t count = 0;
    double done = 0;
    double hint = limits_.max_chunk;
    while (done < len_ - 1e-6) {
      if (++count > give_up) return count;
      double chunk = slowest_.LongestChunk(pos_ + done, target_us,
                                           std::min<double>(limits_.max_chunk, 2 * hint + least_));
      hint = chunk;
      chunk = std::min(std::max(chunk, least_), len_ - done);
      if (chunks != nullptr) chunks->push_back(chunk);
      done += chunk;
    }
    return count;
  }

  // The least target with which `count` chunks suffice, not above `enough_us`, which must be one that
  // suffices.
  double LeastTarget(int64_t count, double enough_us) const {
    double low = 0, high = enough_us;
    for (int i = 0; i < kBisections && high - low > 1e-7 * high; ++i) {
      const double middle = (low + high) / 2;
      (Cut(middle, count, nullptr) <= count ? high : low) = middle;
    }
    return high;
  }

 private:
  const SlowestStage& slowest_;
  double pos_;
  double len_;
  PlanLimits limits_;
  double least_;
};

double MakespanOf(const CostModel& cost, const SlowestStage& slowest, double pos,
                  const std::vector<double>& chunks) {
  if (slowest.all_equal()) {
    double sum = 0, most = 0;
    for (double chunk : chunks) {
      const double time = cost.stages[0].PredictChunk(pos, chunk);
      sum += time;
      most = std::max(most, time);
      pos += chunk;
    }
    return sum + (cost.num_stages() - 1) * most;
  }
  std::vector<double> end(cost.stages.size());
  for (double chunk : chunks) {
    double before = 0;
    for (size_t s = 0; s < end.size(); ++s) {
      before = end[s] = std::max(before, end[s]) + cost.stages[s].PredictChunk(pos, chunk);
    }
    pos += chunk;
  }
  return end.back();
}

// Limits that make sense together, for a prompt of `len`.
PlanLimits Checked(PlanLimits limits, int64_t len) {
  CHECK_GT(limits.align, 0);
  limits.max_chunk = std::max(limits.max_chunk - limits.max_chunk % limits.align, limits.align);
  limits.min_chunk = std::clamp(limits.min_chunk, 1, limits.max_chunk);
  // Not more chunks than can be planned in reasonable time.
  limits.min_chunk = static_cast<int32_t>(std::max<int64_t>(
      limits.min_chunk, std::min<int64_t>(limits.max_chunk, (len + kMostChunks - 1) / kMostChunks)));
  return limits;
}

// Keeps the better one.
void Offer(PromptPlan plan, PromptPlan* best) {
  if (best->chunks.empty() || plan.makespan_us < best->makespan_us) *best = std::move(plan);
}

}  // namespace

double Makespan(const CostModel& cost, int64_t pos, std::span<const int32_t> chunks) {
  const SlowestStage slowest(cost);
  return MakespanOf(cost, slowest, static_cast<double>(pos),
                    std::vector<double>(chunks.begin(), chunks.end()));
}

double IdealUs(const CostModel& cost, int64_t pos, int64_t len) {
  return cost.PureWorkUs(static_cast<double>(pos), static_cast<double>(len)) / cost.num_stages();
}

double PipelineEfficiency(const CostModel& cost, int64_t pos, int64_t len, double makespan_us) {
  return makespan_us > 0 ? IdealUs(cost, pos, len) / makespan_us : 0;
}

double LongestChunk(const CostModel& cost, double pos, double target_us, double max_len) {
  return SlowestStage(cost).LongestChunk(pos, target_us, max_len);
}

std::vector<int32_t> FixedChunks(int64_t len, int32_t chunk_len) {
  CHECK_GT(chunk_len, 0);
  std::vector<int32_t> chunks(len / chunk_len, chunk_len);
  if (len % chunk_len != 0) chunks.push_back(static_cast<int32_t>(len % chunk_len));
  return chunks;
}

PromptPlan PlanPrompt(const CostModel& cost, int64_t pos, int64_t len, const PlanLimits& raw_limits) {
  CHECK(cost.known() && len > 0 && pos >= 0);
  const PlanLimits limits = Checked(raw_limits, len);
  const SlowestStage slowest(cost);
  const Cutter cutter(slowest, pos, len, limits);

  // From what the smallest chunk takes to what the largest does.
  const double first = static_cast<double>(pos), last = static_cast<double>(pos + len);
  const double least_us = slowest.ChunkUs(first, std::min<double>(len, limits.align));
  const double most_us = slowest.ChunkUs(last, std::min<double>(len, limits.max_chunk)) * 1.001;
  const int64_t fewest = cutter.Cut(most_us, kMostChunks + 1, nullptr);

  std::vector<double> lengths;
  double best_us = std::numeric_limits<double>::infinity();
  int64_t best_count = fewest;
  const double ratio = std::pow(most_us / least_us, 1.0 / (kNumTargets - 1));
  double target_us = most_us;
  for (int i = 0; i < kNumTargets; ++i, target_us /= ratio) {
    const int64_t count = cutter.Cut(target_us, kMostChunks + 1, &lengths);
    const double makespan_us = MakespanOf(cost, slowest, first, lengths);
    if (makespan_us < best_us) {
      best_us = makespan_us;
      best_count = count;
    }
    // Everything that is paid per chunk has long outgrown what can be won.
    if (makespan_us > 3 * best_us) break;
  }

  PromptPlan best;
  const int64_t low = std::max(fewest, best_count - kNearbyCounts);
  for (int64_t count = low; count <= best_count + kNearbyCounts; ++count) {
    const double equal_us = cutter.LeastTarget(count, most_us);
    cutter.Cut(equal_us, kMostChunks + 1, &lengths);
    ChunkBoundaries boundaries(cost, pos, len, limits, lengths);
    if (!slowest.all_equal()) boundaries.Improve();
    Offer({.chunks = boundaries.Lengths(), .makespan_us = boundaries.makespan_us(), .target_us = equal_us},
          &best);
  }
  return best;
}

int32_t NextEqualChunk(const CostModel& cost, int64_t pos, int64_t len, double target_us,
                       const PlanLimits& raw_limits) {
  CHECK(cost.known() && len > 0 && pos >= 0 && target_us > 0);
  const PlanLimits limits = Checked(raw_limits, len);
  const SlowestStage slowest(cost);
  const Cutter cutter(slowest, pos, len, limits);
  const double most_us =
      slowest.ChunkUs(static_cast<double>(pos + len), std::min<double>(len, limits.max_chunk)) * 1.001;
  target_us = std::min(target_us, most_us);
  const int64_t count = cutter.Cut(target_us, kMostChunks + 1, nullptr);

  // One chunk fewer may be better although it takes longer than the target: then the whole pipeline drains
  // longer.
  std::vector<double> lengths;
  double best_us = std::numeric_limits<double>::infinity();
  double best_first = 0;
  for (int64_t n = count; n >= std::max<int64_t>(1, count - 1); --n) {
    if (n < count && cutter.Cut(most_us, n, nullptr) > n) break;
    const double equal_us = cutter.LeastTarget(n, n < count ? most_us : target_us);
    cutter.Cut(equal_us, kMostChunks + 1, &lengths);
    double sum_us = 0, longest_us = target_us, at = static_cast<double>(pos);
    for (double length : lengths) {
      const double time = slowest.ChunkUs(at, length);
      sum_us += time;
      longest_us = std::max(longest_us, time);
      at += length;
    }
    const double total_us = sum_us + (cost.num_stages() - 1) * longest_us;
    if (total_us < best_us) {
      best_us = total_us;
      best_first = lengths.front();
    }
  }
  return RoundFirstChunk(pos, len, best_first, limits);
}

}  // namespace penstock
