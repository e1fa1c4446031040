// All layouts that a number of ranks can have.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/parallel_layout.h"

namespace penstock {

// Those of `num_ranks` ranks, stages first, each with expert parallelism as given.
std::vector<ParallelLayout> AllLayouts(int32_t num_ranks, bool expert_parallel);

}  // namespace penstock
