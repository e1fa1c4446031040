// What the ranks have counted: for /metrics, and for --record-expert-load.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "apps/engine_factory.h"
#include "base/status.h"
#include "model/expert_placement.h"
#include "plan/rank_counters.h"
#include "server/rank_metrics.h"

namespace penstock {

// Of each layer, where `experts` are (null: in blocks) on ep_size ranks; 0 where nothing was counted. Empty
// where experts are not spread.
std::vector<double> LayerImbalance(const std::vector<std::vector<uint64_t>>& expert_tokens,
                                   const ExpertPlacement* experts, int32_t ep_size);

// Experts' tokens are those that were served: what was measured at start is left out. Any thread, as long as
// `model` is there.
RankMetrics ReadRankMetrics(const LoadedModel& model);

// Writes the load of experts, of all replicas, where --record-expert-load says so.
Status RecordExpertLoad(const RunConfig& run, const LoadedModel& model);

}  // namespace penstock
