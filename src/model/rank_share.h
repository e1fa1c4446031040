// RankShare: which share of its layers a rank holds, and the groups that it shares them with.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "comm/communicator.h"

namespace penstock {

class ExpertPlacement;

struct RankShare {
  // Heads, inner dimensions and the vocabulary are cut among these.
  int32_t tp_rank = 0;
  int32_t tp_size = 1;
  // The tokens of each chunk are cut among these; each keeps the keys and values of all.
  int32_t pcp_rank = 0;
  int32_t pcp_size = 1;
  // Whole experts are spread over these. 1: they are cut among tp, as other matrices.
  int32_t ep_rank = 0;
  int32_t ep_size = 1;
  const ExpertPlacement* experts = nullptr;  // outlives the model; null: blocks of neighbouring ones

  bool is_whole() const { return tp_size * pcp_size * ep_size == 1; }
  bool operator==(const RankShare&) const = default;
};

// Null where the group is this rank alone. They outlive the model.
struct RankComms {
  Communicator* tp = nullptr;
  Communicator* pcp = nullptr;
  Communicator* ep = nullptr;
};

}  // namespace penstock
