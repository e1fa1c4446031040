// ParallelLayout: how the ranks of a job share the work, in vLLM's terms and order.
//
//   world = dp × pp × pcp × tp, rank = ((dp_idx * pp + pp_idx) * pcp + pcp_idx) * tp + tp_idx
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace penstock {

struct ParallelLayout {
  int32_t dp = 1;                // replicas
  int32_t pp = 1;                // stages of each
  int32_t pcp = 1;               // ranks that share the tokens of a stage's chunks
  int32_t tp = 1;                // ranks that share the matrices of a stage's layers
  bool expert_parallel = false;  // experts are spread over dp × pcp × tp ranks, not cut among tp

  int32_t ranks_per_stage() const { return pcp * tp; }
  int32_t ranks_per_replica() const { return pp * ranks_per_stage(); }
  int32_t world_size() const { return dp * ranks_per_replica(); }
  bool operator==(const ParallelLayout&) const = default;
};

// Where a rank stands.
struct RankCoords {
  int32_t dp = 0;
  int32_t pp = 0;
  int32_t pcp = 0;
  int32_t tp = 0;
  bool operator==(const RankCoords&) const = default;
};

inline int32_t RankOf(const ParallelLayout& layout, const RankCoords& at) {
  return ((at.dp * layout.pp + at.pp) * layout.pcp + at.pcp) * layout.tp + at.tp;
}

inline RankCoords CoordsOf(const ParallelLayout& layout, int32_t rank) {
  return {.dp = rank / layout.ranks_per_replica(),
          .pp = rank / layout.ranks_per_stage() % layout.pp,
          .pcp = rank / layout.tp % layout.pcp,
          .tp = rank % layout.tp};
}

// "pp2tp2", "dp2+ep", "one rank".
std::string LayoutName(const ParallelLayout& layout);

}  // namespace penstock
