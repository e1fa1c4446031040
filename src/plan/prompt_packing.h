// Packing whole prompts into steps: for prompts that are not worth cutting.
//
// One prompt a step pays every overhead for each; all in one step leaves all stages but one idle. What is
// best is in between: as many steps as keep the stages busy, of equal time.
//
// Pure functions. Times in microseconds, on the slowest stage.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/chunk_planner.h"
#include "plan/cost_model.h"

namespace penstock {

// What a prompt that waits, or its remainder, will take.
struct PromptDemand {
  int32_t pos = 0;
  int32_t len = 0;
  bool fits = false;    // into one step of max_tokens
  double work_us = 0;   // without overheads
  double alone_us = 0;  // as one chunk in a step of its own, even where it does not fit
};
PromptDemand MeasureDemand(const CostModel& cost, const PrefillDemand& prefill, int32_t max_tokens);

struct PromptSpread {
  double num_steps = 1;  // over which all prompts in the system are best spread
  double step_us = 0;    // what one of them takes on average
};
// `in_flight`: the work of the prompts that steps in flight complete, `num_in_flight` of them; they, or
// others like them, are taken to come back.
PromptSpread SpreadPrompts(const CostModel& cost, const std::vector<PromptDemand>& demands,
                           const StepWork& in_flight, int32_t num_in_flight);

// Of `demands` spread over `num_steps` steps of equal time: the indices of those that go with the first, in
// rising order.
std::vector<size_t> PromptsOfFirstStep(const CostModel& cost, const std::vector<PromptDemand>& demands,
                                       size_t num_steps);

}  // namespace penstock
