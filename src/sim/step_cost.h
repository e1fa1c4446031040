// StepCost: how long a stage works on a step.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "plan/step.h"

namespace penstock {

using StepCost = std::function<int64_t(const Step& step, int stage)>;  // microseconds

// Constant, linear and attention terms, the same on every stage.
struct SimpleStepCost {
  double per_step_us = 0;
  double per_token_us = 0;
  double per_pair_us = 0;  // a token attending to a token

  int64_t operator()(const Step& step, int /*stage*/) const {
    double cost_us = per_step_us;
    for (const Chunk& chunk : step.chunks) {
      const double len = chunk.len;
      cost_us += per_token_us * len + per_pair_us * len * (chunk.pos + len / 2);
    }
    return static_cast<int64_t>(cost_us);
  }
};

}  // namespace penstock
