// Where experts are placed, and where their load is recorded: the flags, and what vLLM and vLLM-Ascend call
// them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/flags.h"
#include "base/json.h"
#include "base/status.h"

namespace penstock {

struct ExpertOptions {
  std::string placement_file;  // as ParseExpertPlacement() takes it; empty: blocks of neighbouring experts
  int32_t num_redundant = 0;   // copies beyond the first, in each layer
  std::string record_file;     // gets the load of experts at the end; empty: none
};

// From --expert-placement, --num-redundant-experts and --record-expert-load; else from --eplb-config; else
// from additional_config.eplb_config of vLLM-Ascend, `ascend` (null: not given). These also turn on what
// moves experts while running: here they are placed once, at start, and a warning says so. `expert_parallel`:
// --enable-expert-parallel. kInvalidArgument for what makes no sense, kUnimplemented for keys that are not
// known.
Result<ExpertOptions> ResolveExperts(const ParsedFlags& flags, const Json& ascend, bool expert_parallel,
                                     std::vector<std::string>* warnings);

}  // namespace penstock
