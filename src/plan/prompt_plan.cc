// EqualFit, in three steps:
//
//   1. over a grid of target times T: cut greedily into the longest chunks that take at most T, and take the
//   makespan;
//   2. for the numbers of chunks near the best one: the least T with which that number suffices. All chunks,
//   the last
//      one too, then take about T: there is no tail;
//   3. where stages differ, move the ends of chunks one by one as long as the makespan falls.
//
// Chunks are cut where limits want them from the start, so what is found is not spoilt by rounding.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/prompt_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "plan/chunk_boundaries.h"
#include "plan/prompt_cutter.h"
#include "plan/slowest_stage.h"

namespace penstock {
namespace {

constexpr double kTargetRatio = 1.6;  // between neighbours of the grid
constexpr int kPatience = 2;          // numbers of chunks tried in either direction without success
constexpr int64_t kFine = 24;  // chunks this many times as long as their alignment are cut finely enough
constexpr double kWorthwhile = 0.996;  // of the makespan of equal chunks: a plan of unequal ones
constexpr int64_t kManyChunks = 48;    // beyond this, what a tail costs is not worth balancing step by step

double MakespanOf(const CostModel& cost, const SlowestStage& slowest, int64_t pos,
                  std::span<const int32_t> chunks) {
  if (slowest.all_equal()) {
    double sum = 0, most = 0;
    for (int32_t chunk : chunks) {
      const double time = cost.stages[0].PredictChunk(static_cast<double>(pos), chunk);
      sum += time;
      most = std::max(most, time);
      pos += chunk;
    }
    return sum + (cost.num_stages() - 1) * most;
  }
  std::vector<double> end(cost.stages.size());
  for (int32_t chunk : chunks) {
    double before = 0;
    for (size_t s = 0; s < end.size(); ++s) {
      before = end[s] =
          std::max(before, end[s]) + cost.stages[s].PredictChunk(static_cast<double>(pos), chunk);
    }
    pos += chunk;
  }
  return end.back();
}

// What the grid has shown: for each of its targets the number of chunks.
struct Grid {
  std::vector<double> targets_us;  // falling
  std::vector<int64_t> counts;     // rising
  int64_t best_count = 0;

  // A target with which `count` chunks suffice, and the next lower one of the grid, with which they do not.
  std::pair<double, double> Bracket(int64_t count, double least_us) const {
    const auto beyond = std::upper_bound(counts.begin(), counts.end(), count) - counts.begin();
    return {beyond < static_cast<ptrdiff_t>(counts.size()) ? targets_us[beyond] : least_us,
            targets_us[beyond - 1]};
  }
};

Grid SearchGrid(const CostModel& cost, const SlowestStage& slowest, const PromptCutter& cutter, int64_t pos) {
  Grid grid;
  std::vector<int32_t> chunks;
  double best_us = std::numeric_limits<double>::infinity();
  const double least_us = cutter.LeastUs();
  for (double target_us = cutter.MostUs(); target_us > least_us; target_us /= kTargetRatio) {
    const int64_t count = cutter.Cut(target_us, PromptCutter::kNoLimit, &chunks);
    grid.targets_us.push_back(target_us);
    grid.counts.push_back(count);
    const double makespan_us = MakespanOf(cost, slowest, pos, chunks);
    if (makespan_us < best_us) {
      best_us = makespan_us;
      grid.best_count = count;
    }
    // What is paid per chunk has outgrown what can be won.
    if (makespan_us > 1.25 * best_us) break;
  }
  return grid;
}

// The plan of `count` equal chunks, or fewer where limits do not allow so many.
PromptPlan PlanWithCount(const CostModel& cost, const SlowestStage& slowest, const PromptCutter& cutter,
                         const Grid& grid, int64_t pos, int64_t count) {
  PromptPlan plan;
  const auto [too_little_us, enough_us] = grid.Bracket(count, cutter.LeastUs());
  plan.target_us = cutter.LeastTarget(count, too_little_us, enough_us);
  cutter.Cut(plan.target_us, PromptCutter::kNoLimit, &plan.chunks);
  plan.makespan_us = MakespanOf(cost, slowest, pos, plan.chunks);
  return plan;
}

bool Offer(PromptPlan plan, PromptPlan* best) {
  const bool better = best->chunks.empty() || plan.makespan_us < best->makespan_us;
  if (better) *best = std::move(plan);
  return better;
}

PromptPlan BestEqualPlan(const CostModel& cost, const SlowestStage& slowest, const PromptCutter& cutter,
                         const Grid& grid, int64_t pos) {
  PromptPlan best;
  Offer(PlanWithCount(cost, slowest, cutter, grid, pos, grid.best_count), &best);
  // Of many chunks, one more or less makes no difference.
  const int64_t stride = std::max<int64_t>(1, grid.best_count / 16);
  for (const int64_t direction : {stride, -stride}) {
    int failures = 0;
    for (int64_t count = grid.best_count + direction; count >= grid.counts.front() && failures < kPatience;
         count += direction) {
      failures = Offer(PlanWithCount(cost, slowest, cutter, grid, pos, count), &best) ? 0 : failures + 1;
    }
  }
  return best;
}

// Where one stage is slower than the others, it alone is always at work: what else costs time is the first
// chunk on its way to it, and the last one after it. Chunks that grow, and shrink again, no faster than the
// slow stage allows keep it fed and make both small; those between them may then be longer than equal stages
// would want.
class RampSearch {
 public:
  RampSearch(const CostModel& cost, const SlowestStage& slowest, const PromptCutter& cutter, int64_t pos,
             PromptPlan equal)
      : cost_(cost), slowest_(slowest), cutter_(cutter), pos_(pos), best_(std::move(equal)) {
    tries_left_ = std::max<int64_t>(
        20, kMostPredictions / (static_cast<int64_t>(best_.chunks.size()) * cost.num_stages()));
  }

  PromptPlan Run() {
    const double equal_us = best_.target_us;
    for (const double ratio : {1.3, 1.12, 1.7}) {
      Ramps ramps{.ratio = ratio, .front_us = equal_us, .back_us = equal_us};
      double target_us = equal_us;
      for (int round = 0; round < 3; ++round) {
        const double before_us = best_.makespan_us;
        Descend(target_us, ramps, &ramps.front_us, 1 / ratio);
        Descend(target_us, ramps, &ramps.back_us, 1 / ratio);
        Descend(target_us, ramps, &target_us, 1.25);
        if (best_.makespan_us >= before_us) break;
      }
    }
    return best_;
  }

 private:
  static constexpr int64_t kMostPredictions = 100'000;  // a few milliseconds

  // Multiplies `value`, one of the others, by `factor` as long as that helps.
  void Descend(double& target_us, Ramps& ramps, double* value, double factor) {
    double best_value = *value;
    for (int failures = 0; failures < 3 && tries_left_-- > 0;) {
      *value *= factor;
      if (*value < cutter_.LeastUs()) break;
      PromptPlan plan;
      plan.target_us = target_us;
      cutter_.CutWithRamps(target_us, ramps, &plan.chunks);
      plan.makespan_us = MakespanOf(cost_, slowest_, pos_, plan.chunks);
      const bool better = Offer(std::move(plan), &best_);
      failures = better ? 0 : failures + 1;
      if (better) best_value = *value;
    }
    *value = best_value;
  }

  const CostModel& cost_;
  const SlowestStage& slowest_;
  const PromptCutter& cutter_;
  const int64_t pos_;
  PromptPlan best_;
  int64_t tries_left_ = 0;
};

// Where chunk number `at` of a plan ends, for rising real numbers `at`.
class ChunkEnds {
 public:
  explicit ChunkEnds(const std::vector<int32_t>& chunks) : chunks_(chunks) {}
  double At(double at) {
    for (; whole_ < chunks_.size() && static_cast<double>(whole_ + 1) <= at; ++whole_)
      end_ += chunks_[whole_];
    return whole_ == chunks_.size() ? end_ : end_ + (at - static_cast<double>(whole_)) * chunks_[whole_];
  }

 private:
  const std::vector<int32_t>& chunks_;
  size_t whole_ = 0;
  double end_ = 0;
};

// Between chunks of equal time and chunks of equal length, and beyond either: for a number of chunks, their
// ends on the way from the one to the other. Growing times suit a slow stage that comes late, falling ones
// one that comes early.
PromptPlan BestBlendedPlan(const CostModel& cost, const SlowestStage& slowest, const PromptCutter& cutter,
                           int64_t pos, const PromptPlan& equal) {
  const auto count = static_cast<int64_t>(equal.chunks.size());
  const auto len = static_cast<double>(cutter.len());
  PromptPlan best = equal;
  std::vector<double> ends;
  // Of many chunks, the number makes little difference.
  const bool many = count > kManyChunks;
  const int64_t fewest = many ? count : std::max<int64_t>(2, count - count / 6 - 1);
  const int64_t most = many ? count : count + count / 2 + 1;
  for (int64_t n = fewest; n <= most; n += 1 + count / 8) {
    for (const double blend : {-0.4, 0.35, 0.7, 1.0, 1.3}) {
      ChunkEnds equal_ends(equal.chunks);
      ends.clear();
      for (int64_t k = 1; k <= n; ++k) {
        const double share = static_cast<double>(k) / static_cast<double>(n);
        ends.push_back((1 - blend) * equal_ends.At(share * static_cast<double>(count)) + blend * share * len);
      }
      PromptPlan plan;
      plan.target_us = equal.target_us;
      if (!cutter.CutNear(ends, &plan.chunks)) continue;
      plan.makespan_us = MakespanOf(cost, slowest, pos, plan.chunks);
      Offer(std::move(plan), &best);
    }
  }
  return best;
}

PromptPlan Improved(const CostModel& cost, const PromptCutter& cutter, int64_t pos, PromptPlan plan) {
  ChunkBoundaries boundaries(cost, pos, cutter.limits(), plan.chunks, plan.makespan_us);
  boundaries.Improve();
  plan.chunks = boundaries.Lengths();
  plan.makespan_us = boundaries.makespan_us();
  return plan;
}

}  // namespace

double Makespan(const CostModel& cost, int64_t pos, std::span<const int32_t> chunks) {
  return MakespanOf(cost, SlowestStage(cost), pos, chunks);
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

PromptPlan PlanPrompt(const CostModel& cost, int64_t pos, int64_t len, const PlanLimits& limits) {
  CHECK(cost.known() && len > 0 && pos >= 0);
  const SlowestStage slowest(cost);
  const PromptCutter cutter(slowest, pos, len, limits);
  const Grid grid = SearchGrid(cost, slowest, cutter, pos);

  PromptPlan equal = BestEqualPlan(cost, slowest, cutter, grid, pos);
  // Of equal stages, chunks of equal time are the optimum, but for what alignment spoils.
  if (slowest.all_equal()) {
    const int64_t mean_chunk = len / static_cast<int64_t>(equal.chunks.size());
    return mean_chunk > kFine * cutter.limits().align ? equal : Improved(cost, cutter, pos, std::move(equal));
  }
  PromptPlan best = Improved(cost, cutter, pos, RampSearch(cost, slowest, cutter, pos, equal).Run());
  Offer(Improved(cost, cutter, pos, BestBlendedPlan(cost, slowest, cutter, pos, equal)), &best);
  // Stages are never known so well that less would be a gain.
  return best.makespan_us < kWorthwhile * equal.makespan_us ? best : equal;
}

int32_t NextEqualChunk(const CostModel& cost, int64_t pos, int64_t len, double target_us,
                       const PlanLimits& limits) {
  CHECK(cost.known() && len > 0 && pos >= 0 && target_us > 0);
  const SlowestStage slowest(cost);
  const PromptCutter cutter(slowest, pos, len, limits);
  const double most_us = cutter.MostUs();
  target_us = std::clamp(target_us, cutter.LeastUs(), most_us);

  std::vector<int32_t> chunks;
  const int64_t count = cutter.Cut(target_us, kManyChunks, &chunks);
  if (count > kManyChunks) return chunks.front();

  // One chunk fewer may be better although it takes longer than the target: then the whole pipeline drains
  // longer.
  double best_us = std::numeric_limits<double>::infinity();
  int32_t best_first = 0;
  for (int64_t n = count; n >= std::max<int64_t>(1, count - 1); --n) {
    if (n < count && cutter.Cut(most_us, n, nullptr) > n) break;
    cutter.Cut(n < count ? cutter.LeastTarget(n, target_us, most_us) : cutter.LeastTarget(n, 0, target_us),
               PromptCutter::kNoLimit, &chunks);
    double sum_us = 0, longest_us = target_us, at = static_cast<double>(pos);
    for (int32_t chunk : chunks) {
      const double time = slowest.ChunkUs(at, chunk);
      sum_us += time;
      longest_us = std::max(longest_us, time);
      at += chunk;
    }
    const double total_us = sum_us + (cost.num_stages() - 1) * longest_us;
    if (total_us < best_us) {
      best_us = total_us;
      best_first = chunks.front();
    }
  }
  return best_first;
}

}  // namespace penstock
