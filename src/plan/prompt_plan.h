// Planning a whole prompt: into which chunks it is cut so that its last one leaves the pipeline soonest.
//
// A chunk passes the stages in order and each stage takes chunks in order, so with t[s][k] the time of chunk
// k on stage s
//
//   end[s][k] = max(end[s-1][k], end[s][k-1]) + t[s][k]
//
// and the makespan is end[last][last]. For balanced stages this is Σ t + (P - 1) max t: chunks of equal time
// are the best shape, and only their number is to be found. With d the cost of a chunk however small and W
// the pure work of a stage the best number is near sqrt((P-1) W / d), and the time per chunk near sqrt(d W /
// (P-1)).
//
// Pure functions, no state. Costs are in microseconds, lengths in tokens.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/cost_model.h"

namespace penstock {

struct PlanLimits {
  int32_t align = 1;       // chunks end at multiples of this, but for the prompt's own end; > 0
  int32_t min_chunk = 1;   // no chunk but the last is shorter
  int32_t max_chunk = 0;   // no chunk is longer; >= align, >= min_chunk
  double max_step_us = 0;  // no chunk takes longer on any stage, where that is possible; 0: no limit
};

struct PromptPlan {
  std::vector<int32_t> chunks;  // lengths; their sum is the prompt's
  double makespan_us = 0;
  double target_us = 0;  // time of a chunk on the slowest stage that the plan aims at
};

// The recurrence above, exactly. `pos` is the history before the first chunk (a prefix hit).
double Makespan(const CostModel& cost, int64_t pos, std::span<const int32_t> chunks);

// W / P with W the pure work of all stages: no plan is faster.
double IdealUs(const CostModel& cost, int64_t pos, int64_t len);
// IdealUs / makespan.
double PipelineEfficiency(const CostModel& cost, int64_t pos, int64_t len, double makespan_us);

// The longest chunk at `pos` that takes no longer than `target_us` on any stage; between 0 and `max_len`, not
// aligned.
double LongestChunk(const CostModel& cost, double pos, double target_us, double max_len);

// EqualFit: the plan of least makespan for `len` tokens after `pos`. REQUIRES: cost.known(), len > 0.
PromptPlan PlanPrompt(const CostModel& cost, int64_t pos, int64_t len, const PlanLimits& limits);

// The rest of a prompt, chunks of at most about `target_us` but all of equal time, no tail: the fewest chunks
// that keep to the target, and then the shortest time that this number allows. Returns the first of them;
// what a planner asks at every boundary. REQUIRES: as above, target_us > 0.
int32_t NextEqualChunk(const CostModel& cost, int64_t pos, int64_t len, double target_us,
                       const PlanLimits& limits);

// Chunks of one length, and the remainder: vLLM's chunked prefill.
std::vector<int32_t> FixedChunks(int64_t len, int32_t chunk_len);

}  // namespace penstock
