// SglangPlanner: SGLang's rule (python/sglang/srt/managers/scheduler_components/dynamic_chunk_sizer.py,
// 2026). It differs from vLLM-Ascend's in little: the same f(l) = a l² + b l + c and the same target f(base)
// - f(0), but
//   - fitted once, to stage 0: up to 128 prompts without history from 1.25 base down, the first left out; a
//     <= 0 means no sizing at all, b < 0 means 0;
//   - smoothing 0.75 by default, never below base / 4, rounded DOWN to a multiple of max(page, 64), at most
//     max_model_len - history - 100;
//   - the size is the step's whole budget of prompt tokens, found for the prompt that is being continued; a
//     step that continues none has the budget `base`. New prompts fill up what it leaves.
//
// The one difference: SGLang continues one prompt per step; where the scheduler here continues several, the
// first in the order of service counts.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "plan/chunk_planner.h"
#include "plan/make_chunk_planner.h"

namespace penstock {

class SglangPlanner : public ChunkPlanner {
 public:
  explicit SglangPlanner(const PlannerOptions& options);

  std::string_view name() const override { return "sglang"; }
  void BeginStep(const StepQuery& query) override;
  int32_t NextChunk(const ChunkQuery& query) override;
  // Only the first model counts: SGLang profiles at start.
  void SetCost(const CostModel& cost) override;

  // The size of a step that continues a prompt of which `pos` tokens are done; nothing: `base` it is.
  std::optional<int32_t> PredictChunkSize(int32_t pos) const;
  static std::vector<int32_t> ProfileLengths(int32_t base_chunk);
  bool is_ready() const { return is_ready_; }

 private:
  const int32_t base_chunk_;
  const int32_t page_;
  const int32_t max_model_len_;
  const double smooth_factor_;
  const int32_t min_chunk_;  // the operator's; 1 where not given
  bool has_profiled_ = false;
  bool is_ready_ = false;
  double a_ = 0;  // ms per token², ms per token
  double b_ = 0;
  double target_ms_ = 0;
  int32_t budget_tokens_ = 0;  // of this step
};

}  // namespace penstock
