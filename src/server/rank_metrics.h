// RankMetrics: what /metrics tells of the ranks behind the engines.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "plan/rank_counters.h"

namespace penstock {

struct RankMetrics {
  std::vector<RankCounters> engines;
  // [layer]: tokens of the expert-parallel rank that was sent the most, over the mean of all ranks; 0: not
  // known. Empty: no expert parallelism.
  std::vector<double> expert_load_imbalance;
};

}  // namespace penstock
