// The groups of the ranks that one process of a job has: within it, or over MPI with one rank of each other
// member process.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "comm/mpi_world.h"
#include "pipeline/process_map.h"
#include "pipeline/rank_groups.h"

namespace penstock {

// [world_size]; those of other processes' ranks stay empty. Called by all processes.
std::vector<RankGroups> MakeRemoteGroups(const ProcessMap& map, MpiWorld& world);

}  // namespace penstock
