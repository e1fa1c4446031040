// The policies by which prompts are cut into chunks, by name.
//
//   static          as many tokens as the step's budget takes                             (vLLM)
//   equal-latency   chunks that take as long as the first one of max_tokens                 (vLLM-Ascend,
//   equal_latency.h) sglang          the same by SGLang's fit, smoothing and rounding (sglang_planner.h)
//   optimal         the makespan's optimum, by the measured model and by what waits; no knob
//   (optimal_planner.h)
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "plan/chunk_planner.h"

namespace penstock {

enum class ChunkPolicy { kStatic, kEqualLatency, kSglang, kOptimal };

inline constexpr ChunkPolicy kAllChunkPolicies[] = {ChunkPolicy::kStatic, ChunkPolicy::kEqualLatency,
                                                    ChunkPolicy::kSglang, ChunkPolicy::kOptimal};

std::string_view ChunkPolicyName(ChunkPolicy policy);
// kInvalidArgument, with the names that there are.
Result<ChunkPolicy> ParseChunkPolicy(std::string_view name);
// "static,optimal" -> both; "all" -> all four.
Result<std::vector<ChunkPolicy>> ParseChunkPolicies(std::string_view names);

struct PlannerOptions {
  ChunkPolicy policy = ChunkPolicy::kOptimal;
  int32_t max_tokens =
      2048;  // --max-num-batched-tokens: the cap of a step, and the first chunk of the heuristics
  int32_t block_size = 64;
  int32_t tile = 1;  // chunks are multiples of this where it matters to kernels; optimal only
  int32_t max_model_len = 0;
  double max_step_us = 0;  // most time for a step on any stage; 0: no limit

  double fixed_target_us = 0;  // optimal only, > 0: every chunk aims at this time; for comparisons

  // profiling_chunk_config's, where the operator gave them: they hold in every policy but static.
  std::optional<double> smooth_factor = {};  // (0, 1]
  std::optional<int32_t> min_chunk = {};     // 1 … max_tokens
  bool need_timing = true;                   // equal-latency only: calibrate online
  int32_t max_fit_chunk = 30;                // equal-latency only
  bool release_behaviour = false;  // equal-latency only: v0.20.2rc1's, where it differs from its main branch
};

// kInvalidArgument where a field is out of the ranges above, with its name and what it should be.
Status ValidatePlannerOptions(const PlannerOptions& options);

// REQUIRES: options within the ranges above. SetCost() must be called before it does more than static does.
std::unique_ptr<ChunkPlanner> MakeChunkPlanner(const PlannerOptions& options);

}  // namespace penstock
