// RankCounters: what the ranks of a replica have counted since they were made.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace penstock {

struct RankCounters {
  // [layer][expert]: tokens of this replica that were routed to each expert; a layer without experts is
  // empty.
  std::vector<std::vector<uint64_t>> expert_tokens;
  // Bytes that ranks have sent to others, by the group in which they share a stage's work.
  uint64_t tp_bytes = 0;
  uint64_t pcp_bytes = 0;
  uint64_t ep_bytes = 0;
  uint64_t stage_bytes = 0;  // which chunks are dropped
  // And between processes: steps, hidden states between stages, results.
  uint64_t handover_bytes = 0;

  void Add(const RankCounters& other) {
    if (expert_tokens.size() < other.expert_tokens.size()) expert_tokens.resize(other.expert_tokens.size());
    for (size_t layer = 0; layer < other.expert_tokens.size(); ++layer) {
      const std::vector<uint64_t>& counts = other.expert_tokens[layer];
      std::vector<uint64_t>& sum = expert_tokens[layer];
      if (sum.size() < counts.size()) sum.resize(counts.size());
      for (size_t e = 0; e < counts.size(); ++e) sum[e] += counts[e];
    }
    tp_bytes += other.tp_bytes;
    pcp_bytes += other.pcp_bytes;
    ep_bytes += other.ep_bytes;
    stage_bytes += other.stage_bytes;
    handover_bytes += other.handover_bytes;
  }
  bool operator==(const RankCounters&) const = default;
};

}  // namespace penstock
