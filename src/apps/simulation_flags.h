// From flags to what `simulate` and `plan` are made of. Errors name the flag.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "apps/flags.h"
#include "base/status.h"
#include "plan/make_chunk_planner.h"
#include "sim/simulation.h"
#include "sim/workload.h"

namespace penstock {

// What both commands have.
struct SimulationSetup {
  SimulationConfig config;
  PlannerOptions planner;  // its policy is one of `policies`
  std::vector<ChunkPolicy> policies;
};
// With --layouts, the cost is not known yet. A --min-chunk above --max-num-batched-tokens is lowered to it,
// with a warning in the log.
Result<SimulationSetup> ResolveSimulation(const ParsedFlags& flags);

// Of `simulate`; files are read.
Result<Traffic> ResolveTraffic(const ParsedFlags& flags);

// "1,1,1.25" and "8K,32768".
Result<std::vector<double>> ParseShares(std::string_view text);
Result<std::vector<int32_t>> ParseLengths(std::string_view text);

}  // namespace penstock
