// CostSpec: a cost model as users write it, for simulations and plans.
//
//   {"alpha": 1.1e-4, "beta": 2.9e-9, "gamma": 0, "floor": 0.16, "d0": 0.015}      the whole model:
//   WholeModelCost
//   {"stages": [{"step_us": 15000, "token_us": 56.3, …}, …]}                       each stage: StageCost's
//   names deepseek-v3.1, deepseek-v3.1-lean, …                                           a reference model
//   @file                                                                          a file with one of the
//   objects
//
// Keys that are left out are 0. A saved fit (plan/cost_model_json.h) is of the second form.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "plan/cost_model.h"

namespace penstock {

struct CostSpec {
  std::variant<WholeModelCost, CostModel> cost;
};

// A whole model's coefficients by name, measured by others. Its "-lean" form has the overheads of an engine
// that launches without gaps: floor 52 ms, d0 2 ms.
struct ReferenceCost {
  std::string_view name;
  WholeModelCost cost;
};
std::vector<ReferenceCost> ReferenceCosts();

// kInvalidArgument for what is none of the above; kNotFound for a file that cannot be read.
Result<CostSpec> ParseCostSpec(std::string_view text);

// `num_stages` and `shares`: what the user says of the pipeline; shares (one for each stage, > 0) is empty
// for equal stages. Without a number there are as many stages as `shares` or the spec has, else 2.
// kInvalidArgument, with the names of the flags, where they contradict each other or the spec.
Result<CostModel> ResolveCost(const CostSpec& spec, std::optional<int> num_stages,
                              const std::vector<double>& shares);

}  // namespace penstock
