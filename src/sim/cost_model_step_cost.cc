// SPDX-License-Identifier: Apache-2.0
#include "sim/cost_model_step_cost.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/random_draw.h"

namespace penstock {

StepCost MakeStepCost(CostModel cost, double noise, uint64_t seed) {
  return [cost = std::move(cost), noise, seed](const Step& step, int stage) -> int64_t {
    double time_us = cost.stages.at(stage).Predict(WorkOf(step));
    if (noise > 0) {
      RandomDraw draw(seed, step.step_id, static_cast<uint64_t>(stage));
      time_us *= std::max(0.1, 1 + noise * draw.Normal());
    }
    return std::llround(time_us);
  };
}

}  // namespace penstock
