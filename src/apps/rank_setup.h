// How the ranks of a replica that are in this process are made: from the plan to the pipeline's factory.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "pipeline/local_ranks.h"
#include "pipeline/rank_groups.h"

namespace penstock {

// Where experts are spread over replicas, these wait for each other in every step.
inline bool InLockStep(const EnginePlan& plan) { return plan.layout.dp > 1 && plan.layout.expert_parallel; }

// `groups`: of the replica's ranks.
LocalRanksOptions MakeLocalRanks(const RunConfig& run, const EnginePlan& plan, int32_t replica,
                                 std::vector<RankGroups> groups);

// The groups of all ranks, replica by replica: [dp][ranks_per_replica]. All processes of a job call this
// once.
std::vector<std::vector<RankGroups>> MakeGroupsOfReplicas(const EnginePlan& plan);

}  // namespace penstock
