// Costs of models as others measured them, for tests: planner.md's reference models.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/cost_model.h"

namespace penstock {

struct MeasuredCost {
  const char* name;
  WholeModelCost whole;
};

inline constexpr MeasuredCost kMeasuredCosts[] = {
    {"DeepSeek-V3.1", {1.1268728934512e-4, 2.86578596357e-9, 0, 0.16, 0.015}},
    {"Qwen3-235B", {9.68098792240622e-5, 2.21580228936910e-9, 0, 0.16, 0.015}},
    {"Kimi-K2.5", {2.412e-5, 2.6e-9, 2.156e-6, 0, 0.0456}},
    {"DeepSeek-V3.1, lean engine", {1.1268728934512e-4, 2.86578596357e-9, 0, 0.052, 0.002}},
    {"Qwen3-235B, lean engine", {9.68098792240622e-5, 2.21580228936910e-9, 0, 0.052, 0.002}},
};

}  // namespace penstock
