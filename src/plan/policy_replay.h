// ReplayPolicy: what chunks a policy cuts for a prompt that is alone, when every step takes exactly what the
// cost model says.
//
// The planner is asked as the scheduler asks it: one more step in flight than there are stages, results
// reported in the order in which they come back, with the stamps that the recurrence of prompt_plan.h gives
// them. So policies that calibrate online do so, and go on from where they are in the next replay: the
// calibration recipe of vLLM-Ascend is five replays.
//
// Pure but for the planner's state.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "plan/chunk_planner.h"
#include "plan/prompt_plan.h"

namespace penstock {

// The prompt's tokens [pos, pos + len), the ones before them cached; steps of at most `max_tokens`. The
// planner is told `cost` first. target_us of the plan is the time of its longest chunk on the slowest stage.
// REQUIRES: cost.known(), len > 0, pos >= 0, pos + len fits int32_t, max_tokens > 0.
PromptPlan ReplayPolicy(ChunkPlanner& planner, const CostModel& cost, int64_t pos, int64_t len,
                        int32_t max_tokens);

}  // namespace penstock
