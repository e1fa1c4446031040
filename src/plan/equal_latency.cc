// SPDX-License-Identifier: Apache-2.0
#include "plan/equal_latency.h"

#include <algorithm>
#include <limits>

namespace penstock {
namespace {

constexpr double kDefaultSmoothFactor = 1.0;
constexpr int32_t kDefaultMinChunk = 4096;
constexpr double kReleaseBudgetMs = 0.01;

PredictorOptions MakePredictorOptions(const PlannerOptions& options) {
  return {.smooth_factor = options.smooth_factor.value_or(kDefaultSmoothFactor),
          .min_chunk = std::min(options.min_chunk.value_or(kDefaultMinChunk), options.max_tokens),
          .max_fit_chunk = options.max_fit_chunk,
          .release_behaviour = options.release_behaviour};
}

}  // namespace

EqualLatencyPlanner::EqualLatencyPlanner(const PlannerOptions& options)
    : need_timing_(options.need_timing),
      release_behaviour_(options.release_behaviour),
      manager_(options.max_tokens, options.block_size, MakePredictorOptions(options)) {}

void EqualLatencyPlanner::SetCost(const CostModel& cost) {
  if (manager_.is_ready() || !cost.known()) return;
  std::vector<double> lens, times_ms;
  for (int32_t len : ProfilingChunkManager::ProfileLengths(manager_.base_chunk())) {
    lens.push_back(len);
    times_ms.push_back(cost.stages.back().PredictChunk(0, len) / 1000);
  }
  manager_.FinishProfiling(lens, times_ms);
}

void EqualLatencyPlanner::BeginStep(const StepQuery& query) {
  running_closed_ = waiting_closed_ = false;
  running_.clear();
  for (const PrefillDemand& demand : query.prefills) {
    if (demand.is_running) running_.push_back(demand.seq);
  }
  std::sort(running_.begin(), running_.end());
}

bool EqualLatencyPlanner::IsRunning(SeqId seq) const {
  return std::binary_search(running_.begin(), running_.end(), seq);
}

double EqualLatencyPlanner::BudgetMs() const {
  if (release_behaviour_) return kReleaseBudgetMs;
  return manager_.predictor().target_ms().value_or(std::numeric_limits<double>::infinity());
}

double EqualLatencyPlanner::ChargeMs(const ChunkShape& chunk) const {
  if (chunk.is_decode || (release_behaviour_ && chunk.len <= 1)) return 0;
  return manager_.PredictTime(chunk.len, chunk.pos);
}

// Whether the model has a say in the chunk's length.
bool EqualLatencyPlanner::IsSized(const ChunkQuery& query, bool is_running) const {
  const bool is_continued = is_running && query.pos > 0;
  if (release_behaviour_) return is_continued && query.max_len > 1;
  return is_continued || !calibrating();
}

int32_t EqualLatencyPlanner::NextChunk(const ChunkQuery& query) {
  if (!manager_.is_ready()) return query.max_len;
  const bool is_running = IsRunning(query.seq);
  bool& closed = is_running ? running_closed_ : waiting_closed_;
  double budget_ms = BudgetMs();
  bool is_untouched = true;
  for (const ChunkShape& chunk : query.step_chunks) {
    budget_ms -= ChargeMs(chunk);
    is_untouched &= chunk.is_decode;
  }
  if (closed || budget_ms <= 0) return 0;
  if (!IsSized(query, is_running)) return query.max_len;

  const std::optional<int32_t> predicted = manager_.PredictChunkSize(query.pos, budget_ms);
  if (predicted) return std::min(*predicted, query.max_len);
  if (release_behaviour_) return query.max_len;
  if (is_untouched && manager_.predictor().IsBeyondTarget(query.pos)) {
    return std::min(manager_.predictor().SmallestChunk(manager_.page()), query.max_len);
  }
  if (calibrating() || is_untouched) return query.max_len;
  closed = true;
  return 0;
}

void EqualLatencyPlanner::OnStep(const StepTiming& timing) {
  if (!need_timing_ || timing.stamps.empty()) return;
  const StageStamp& last = timing.stamps.back();
  const double time_us = static_cast<double>(last.end_us) - static_cast<double>(last.begin_us);
  manager_.OnBatch(timing.chunks, time_us / 1000);
}

}  // namespace penstock
