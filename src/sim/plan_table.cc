// SPDX-License-Identifier: Apache-2.0
#include "sim/plan_table.h"

#include <fmt/format.h>

#include <utility>

#include "plan/prompt_plan.h"
#include "sim/simulation.h"
#include "sim/simulation_report.h"

namespace penstock {

Result<PlanTable> MakePlanTable(const CostModel& cost, const PlannerOptions& options,
                                std::span<const ChunkPolicy> policies, std::span<const int32_t> lengths,
                                int num_warm_up) {
  SimulationConfig config;
  config.cost = cost;
  config.max_num_batched_tokens = options.max_tokens;
  config.block_size = options.block_size;
  config.num_warm_up = num_warm_up;
  PlanTable table;
  table.num_stages = cost.num_stages();
  for (int32_t len : lengths) {
    PromptPlans plans = {.prompt_len = len, .ideal_s = IdealUs(cost, 0, len) / 1e6, .rows = {}};
    const Traffic traffic = {.requests = {{.prompt_len = len}}};
    for (ChunkPolicy policy : policies) {
      PlannerOptions with_policy = options;
      with_policy.policy = policy;
      ASSIGN_OR_RETURN(SimulationReport report, SimulatePolicy(config, with_policy, traffic));
      plans.rows.push_back({.policy = report.policy,
                            .ttft_s = report.requests[0].ttft_s,
                            .efficiency = report.efficiency,
                            .chunks = std::move(report.requests[0].chunks)});
    }
    table.lengths.push_back(std::move(plans));
  }
  return table;
}

std::string PlanTableText(const PlanTable& table) {
  std::string text =
      fmt::format("{:>8}  {:<14}{:>10}{:>12}  {}\n", "prompt", "policy", "TTFT s", "efficiency", "chunks");
  for (const PromptPlans& plans : table.lengths) {
    for (const PlanRow& row : plans.rows) {
      text += fmt::format("{:>8}  {:<14}{:>10.3f}{:>11.1f}%  {}: {}\n", plans.prompt_len, row.policy,
                          row.ttft_s, 100 * row.efficiency, row.chunks.size(), FormatChunks(row.chunks));
    }
    text +=
        fmt::format("{:>8}  {:<14}{:>10.3f}{:>11.1f}%\n", plans.prompt_len, "ideal", plans.ideal_s, 100.0);
  }
  return text;
}

Json PlanTableJson(const PlanTable& table) {
  Json all = Json::array();
  for (const PromptPlans& plans : table.lengths) {
    Json policies = Json::array();
    for (const PlanRow& row : plans.rows) {
      policies.push_back({{"policy", row.policy},
                          {"ttft_s", row.ttft_s},
                          {"efficiency", row.efficiency},
                          {"chunks", row.chunks}});
    }
    all.push_back({{"prompt_len", plans.prompt_len}, {"ideal_s", plans.ideal_s}, {"policies", policies}});
  }
  return all;
}

}  // namespace penstock
