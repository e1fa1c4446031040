// RankGroups: the groups in which a rank shares the work of its stage, and which share it has.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "comm/communicator.h"
#include "model/rank_share.h"
#include "plan/parallel_layout.h"

namespace penstock {

// Null where the rank is alone in a group.
struct RankGroups {
  std::unique_ptr<Communicator> tp;
  std::unique_ptr<Communicator> pcp;
  std::unique_ptr<Communicator> ep;
  std::unique_ptr<Communicator> stage;  // all ranks of the stage, by lane: whose chunks are dropped

  RankComms comms() const { return {tp.get(), pcp.get(), ep.get()}; }
};

// The share of a rank of the world. Experts are spread over the ranks of the stage in all replicas.
RankShare ShareOf(const ParallelLayout& layout, int32_t rank);

// body(member, ranks) for each group of more than one rank, in an order that is the same everywhere.
using RankGroupMember = std::unique_ptr<Communicator> RankGroups::*;
void ForEachGroup(const ParallelLayout& layout,
                  FunctionRef<void(RankGroupMember member, std::span<const int32_t> ranks)> body);

// The groups of all ranks of the world, all of which are threads of this process: [world_size].
std::vector<RankGroups> MakeLocalGroups(const ParallelLayout& layout);

}  // namespace penstock
