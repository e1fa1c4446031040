// From a RunConfig to a chunk planner.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "plan/cost_model.h"
#include "plan/make_chunk_planner.h"

namespace penstock {

// profiling_chunk_config's smooth_factor and min_chunk bind every policy where they were given, and
// vLLM-Ascend's own also by their defaults.
PlannerOptions MakePlannerOptions(const RunConfig& run, const EnginePlan& plan, ChunkPolicy policy);

// What smooth_factor and min_chunk cost a prompt of `len` tokens that is alone, against the same policy
// without them, in one line for the log. Empty where neither was given, or they are the policy's own.
std::string ConstraintsLine(const PlannerOptions& options, const CostModel& cost, int32_t len);

// The chunks and times of each policy, by the cost model, for prompts of 8k, 32k, 128k and the longest
// length, as far as that goes: lines in the log. Nothing where the model is not known.
void LogPlanTable(const RunConfig& run, const EnginePlan& plan, const CostModel& cost);

// Whether a policy sizes chunks by the cost model in a pipeline of this depth.
bool NeedsCost(const RunConfig& run);

}  // namespace penstock
