// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_list.h"

namespace penstock {

std::vector<ParallelLayout> AllLayouts(int32_t num_ranks, bool expert_parallel) {
  std::vector<ParallelLayout> layouts;
  for (int32_t pp = num_ranks; pp >= 1; --pp) {
    for (int32_t tp = num_ranks; tp >= 1; --tp) {
      for (int32_t pcp = num_ranks; pcp >= 1; --pcp) {
        const int64_t product = int64_t{pp} * tp * pcp;
        if (num_ranks % product != 0) continue;
        layouts.push_back({.dp = static_cast<int32_t>(num_ranks / product),
                           .pp = pp,
                           .pcp = pcp,
                           .tp = tp,
                           .expert_parallel = expert_parallel});
      }
    }
  }
  return layouts;
}

}  // namespace penstock
