// `penstock plan`: how each policy cuts prompts of given lengths into chunks.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>

#include "apps/commands.h"
#include "apps/simulation_flags.h"
#include "sim/plan_table.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {"penstock plan --cost COST --prompt-len N,… [flags]",
                               "Prints, for prompts that are alone, the chunks of each policy, the predicted "
                               "time to first token, and what no "
                               "policy can be faster than: the work divided by the number of stages."};

Status PrintPlans(const ParsedFlags& flags) {
  ASSIGN_OR_RETURN(SimulationSetup setup, ResolveSimulation(flags));
  ASSIGN_OR_RETURN(const std::vector<int32_t> lengths, ParseLengths(flags.String("prompt-len")));
  setup.planner.max_tokens = setup.config.max_num_batched_tokens;
  setup.planner.block_size = setup.config.block_size;
  ASSIGN_OR_RETURN(const PlanTable table, MakePlanTable(setup.config.cost, setup.planner, setup.policies,
                                                        lengths, setup.config.num_warm_up));
  fmt::print("{}", flags.Bool("json") ? PlanTableJson(table).dump() + "\n" : PlanTableText(table));
  return OkStatus();
}

}  // namespace

int RunPlan(std::span<const std::string> args) {
  const FlagsStart start = StartWithoutModel(args, PlanCommandTable(), kInfo);
  if (!start.flags) return start.exit_code;
  const Status status = PrintPlans(*start.flags);
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
