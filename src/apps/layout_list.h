// All layouts that a number of ranks can have.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "plan/parallel_layout.h"

namespace penstock {

// kUnimplemented for a layout that no pipeline here can have yet.
Status CheckImplemented(const ParallelLayout& layout);

// Those of `num_ranks` ranks that are implemented, stages first, each with expert parallelism as given.
std::vector<ParallelLayout> AllLayouts(int32_t num_ranks, bool expert_parallel);

}  // namespace penstock
