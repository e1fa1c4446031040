// Layouts by name, and all that a number of ranks can have.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "plan/parallel_layout.h"

namespace penstock {

// kUnimplemented for a layout that no pipeline here can have yet.
Status CheckImplemented(const ParallelLayout& layout);

// "pp2", "pp2tp2", "tp4+ep", as LayoutName() writes them, in any order. kInvalidArgument for what is none.
Result<ParallelLayout> ParseLayout(std::string_view name);

// Those of `num_ranks` ranks that are implemented, stages first, each with expert parallelism as given.
std::vector<ParallelLayout> AllLayouts(int32_t num_ranks, bool expert_parallel);

}  // namespace penstock
