// SPDX-License-Identifier: Apache-2.0
#include "sim/cost_model_step_cost.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/random_draw.h"

namespace penstock {

StepCost MakeStepCost(CostModel cost) {
  return [cost = std::move(cost)](const Step& step, int stage) -> int64_t {
    return std::llround(cost.stages.at(stage).Predict(WorkOf(step)));
  };
}

StepCost WithNoise(StepCost cost, double noise, uint64_t seed) {
  return [cost = std::move(cost), noise, seed](const Step& step, int stage) -> int64_t {
    RandomDraw draw(seed, step.step_id, static_cast<uint64_t>(stage));
    return std::llround(static_cast<double>(cost(step, stage)) * std::max(0.1, 1 + noise * draw.Normal()));
  };
}

}  // namespace penstock
