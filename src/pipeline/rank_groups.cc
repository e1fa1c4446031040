// SPDX-License-Identifier: Apache-2.0
#include "pipeline/rank_groups.h"

#include <map>
#include <utility>

#include "comm/inproc/inproc_group.h"

namespace penstock {
RankShare ShareOf(const ParallelLayout& layout, int32_t rank) {
  const RankCoords at = CoordsOf(layout, rank);
  RankShare share{.tp_rank = at.tp, .tp_size = layout.tp, .pcp_rank = at.pcp, .pcp_size = layout.pcp};
  if (layout.expert_parallel) {
    share.ep_rank = (at.dp * layout.pcp + at.pcp) * layout.tp + at.tp;
    share.ep_size = layout.dp * layout.ranks_per_stage();
  }
  return share;
}

void ForEachGroup(const ParallelLayout& layout,
                  FunctionRef<void(RankGroupMember, std::span<const int32_t>)> body) {
  const auto join = [&](RankGroupMember member, const auto& name) {
    std::map<int32_t, std::vector<int32_t>> ranks_of;
    for (int32_t rank = 0; rank < layout.world_size(); ++rank) {
      ranks_of[name(CoordsOf(layout, rank))].push_back(rank);
    }
    for (const auto& [unused, ranks] : ranks_of) {
      if (ranks.size() > 1) body(member, ranks);
    }
  };
  const auto rank_of = [&](RankCoords at) { return RankOf(layout, at); };
  join(&RankGroups::tp, [&](RankCoords at) { return rank_of({at.dp, at.pp, at.pcp, 0}); });
  join(&RankGroups::pcp, [&](RankCoords at) { return rank_of({at.dp, at.pp, 0, at.tp}); });
  join(&RankGroups::stage, [&](RankCoords at) { return rank_of({at.dp, at.pp, 0, 0}); });
  if (layout.expert_parallel) join(&RankGroups::ep, [&](RankCoords at) { return at.pp; });
}

std::vector<RankGroups> MakeLocalGroups(const ParallelLayout& layout) {
  std::vector<RankGroups> groups(layout.world_size());
  ForEachGroup(layout, [&](RankGroupMember member, std::span<const int32_t> ranks) {
    std::vector<std::unique_ptr<Communicator>> comms = MakeInprocGroup(static_cast<int>(ranks.size()));
    for (size_t i = 0; i < ranks.size(); ++i) groups[ranks[i]].*member = std::move(comms[i]);
  });
  return groups;
}

}  // namespace penstock
