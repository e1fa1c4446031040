// SPDX-License-Identifier: Apache-2.0
#include "pipeline/remote_groups.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "comm/inproc/inproc_group.h"

namespace penstock {

std::vector<RankGroups> MakeRemoteGroups(const ProcessMap& map, MpiWorld& world) {
  std::vector<RankGroups> groups(map.layout.world_size());
  ForEachGroup(map.layout, [&](RankGroupMember member, std::span<const int32_t> ranks) {
    std::vector<int> processes;
    for (const int32_t rank : ranks) processes.push_back(map.ProcessOf(rank));
    const auto own = std::ranges::find(processes, world.rank());
    if (own == processes.end()) return;
    if (std::ranges::count(processes, world.rank()) == std::ssize(processes)) {
      std::vector<std::unique_ptr<Communicator>> comms = MakeInprocGroup(static_cast<int>(ranks.size()));
      for (size_t i = 0; i < ranks.size(); ++i) groups[ranks[i]].*member = std::move(comms[i]);
      return;
    }
    CHECK_EQ(std::set<int>(processes.begin(), processes.end()).size(), processes.size())
        << "CheckProcessMap() allows no such group";
    groups[ranks[own - processes.begin()]].*member = world.MakeCommunicator(processes);
  });
  return groups;
}

}  // namespace penstock
