// EqualLatencyPlanner: vLLM-Ascend's rule. Every chunk is to take as long as the first one, of the step's
// whole token budget, takes.
//
// A step has a budget of time, the target; what is in the step is charged with its predicted time, and a
// prompt gets the chunk that takes what is left, at least min_chunk, at most max_len. While calibrating
// (need_timing, until the manager is done) the first chunk of a prompt is as long as it may be, and so is any
// other whose prediction fails.
//
// Start-up profile: 64 lengths, predicted for the last stage by the first model that SetCost() brings; until
// then chunks are as long as they may be. Calibration: the last stage's own time of each step, OnStep().
//
// It differs from its source (vllm_ascend/core/scheduler_profiling_chunk.py, August 2026) in this:
//   - where the history alone takes the whole target the source cuts the longest chunk, here the smallest;
//   - a prefix hit's first chunk is charged with its history, which the source leaves out.
// With options.release_behaviour, as v0.20.2rc1: one chunk per step, since the budget is 0.01 ms; the first
// chunk of a prompt is never sized; and every prediction that fails gives the longest chunk.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plan/chunk_planner.h"
#include "plan/make_chunk_planner.h"
#include "plan/profiling_chunk_manager.h"

namespace penstock {

class EqualLatencyPlanner : public ChunkPlanner {
 public:
  explicit EqualLatencyPlanner(const PlannerOptions& options);

  std::string_view name() const override { return "equal-latency"; }
  void BeginStep(const StepQuery& query) override;
  int32_t NextChunk(const ChunkQuery& query) override;
  void OnStep(const StepTiming& timing) override;
  void SetCost(const CostModel& cost) override;

  const ProfilingChunkManager& manager() const { return manager_; }

 private:
  bool calibrating() const { return need_timing_ && !manager_.calibration_done(); }
  bool IsRunning(SeqId seq) const;
  double BudgetMs() const;
  double ChargeMs(const ChunkShape& chunk) const;
  bool IsSized(const ChunkQuery& query, bool is_running) const;

  const bool need_timing_;
  const bool release_behaviour_;
  ProfilingChunkManager manager_;
  std::vector<SeqId> running_;   // prompts of this step of which something has been scheduled, sorted
  bool running_closed_ = false;  // no more chunks of these, or of the others, in this step
  bool waiting_closed_ = false;
};

}  // namespace penstock
