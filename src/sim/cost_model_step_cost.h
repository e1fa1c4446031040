// The time that a CostModel predicts, as a StepCost: simulated stages are then exactly as fast as the model
// says, or, with noise, nearly so.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "plan/cost_model.h"
#include "sim/step_cost.h"

namespace penstock {

// Microseconds are rounded, so a step is off by half of one at most.
StepCost MakeStepCost(CostModel cost);

// `noise` is the standard deviation of a factor (mean 1, normal, not below 0.1) that is drawn for each step
// on each stage from `seed`, step and stage.
StepCost WithNoise(StepCost cost, double noise, uint64_t seed);

}  // namespace penstock
