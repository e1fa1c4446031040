// PlanTable: for some prompt lengths, the chunks into which each policy cuts a prompt that is alone, how long
// it should take, and what no policy can be faster than. Found by simulation, so with the policies
// themselves.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "plan/cost_model.h"
#include "plan/make_chunk_planner.h"

namespace penstock {

struct PlanRow {
  std::string policy;
  double ttft_s = 0;
  double efficiency = 0;
  std::vector<int32_t> chunks;
};

struct PromptPlans {
  int32_t prompt_len = 0;
  double ideal_s = 0;
  std::vector<PlanRow> rows;  // one for each policy
};

struct PlanTable {
  int num_stages = 0;
  std::vector<PromptPlans> lengths;
};

// `options`: all but policy and max_model_len. Policies that learn have had `num_warm_up` prompts of that
// length before. REQUIRES: cost.known(), lengths and policies not empty, lengths >= 1. Milliseconds for a
// length of 128k.
Result<PlanTable> MakePlanTable(const CostModel& cost, const PlannerOptions& options,
                                std::span<const ChunkPolicy> policies, std::span<const int32_t> lengths,
                                int num_warm_up);

std::string PlanTableText(const PlanTable& table);
// [{"prompt_len", "ideal_s", "policies": [{"policy", "ttft_s", "efficiency", "chunks"}]}]
Json PlanTableJson(const PlanTable& table);

}  // namespace penstock
