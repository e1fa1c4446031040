// The time that a CostModel predicts, as a StepCost: simulated stages are then exactly as fast as the model
// says, or, with noise, nearly so.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "plan/cost_model.h"
#include "sim/step_cost.h"

namespace penstock {

// `noise` is the standard deviation of a factor (mean 1, normal, not below 0.1) that is drawn for each step
// on each stage from `seed`, step and stage. Microseconds are rounded, so a step is off by half of one at
// most.
StepCost MakeStepCost(CostModel cost, double noise = 0, uint64_t seed = 0);

}  // namespace penstock
