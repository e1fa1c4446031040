// SPDX-License-Identifier: Apache-2.0
#include "apps/rank_setup.h"

#include <iterator>
#include <utility>

#include "apps/build_id.h"

namespace penstock {

LocalRanksOptions MakeLocalRanks(const RunConfig& run, const EnginePlan& plan, int32_t replica_idx,
                                 std::vector<RankGroups> groups) {
  LocalRanksOptions ranks;
  ranks.model_dir = run.model_dir;
  ranks.config = plan.model;
  ranks.model = plan.options;
  ReplicaRanks replica = RanksOfReplica(plan, replica_idx);
  ranks.ranges = std::move(replica.ranges);
  ranks.cores = std::move(replica.cores);
  ranks.groups = std::move(groups);
  ranks.kernel_isa = run.kernel_isa;
  ranks.num_blocks = plan.memory.num_blocks;
  ranks.packed_cache = {run.packed_cache_dir, BuildId()};
  if (plan.job != nullptr) ranks.clock_offset_us = plan.job->clock_offset_us();
  return ranks;
}

std::vector<std::vector<RankGroups>> MakeGroupsOfReplicas(const EnginePlan& plan) {
  std::vector<RankGroups> groups =
      plan.job != nullptr ? plan.job->MakeGroups() : MakeLocalGroups(plan.layout);
  std::vector<std::vector<RankGroups>> of_replicas;
  for (auto begin = groups.begin(); begin != groups.end(); begin += plan.layout.ranks_per_replica()) {
    of_replicas.emplace_back(std::make_move_iterator(begin),
                             std::make_move_iterator(begin + plan.layout.ranks_per_replica()));
  }
  return of_replicas;
}

}  // namespace penstock
