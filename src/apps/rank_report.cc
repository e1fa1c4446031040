// SPDX-License-Identifier: Apache-2.0
#include "apps/rank_report.h"

#include <fstream>

#include "base/log.h"
#include "model/expert_load.h"
#include "pipeline/pipeline.h"

namespace penstock {
namespace {

RankCounters SumOf(const std::vector<RankCounters>& engines) {
  RankCounters sum;
  for (const RankCounters& engine : engines) sum.Add(engine);
  return sum;
}

void LeaveOut(const RankCounters& before, RankCounters& counters) {
  for (size_t layer = 0; layer < before.expert_tokens.size(); ++layer) {
    const std::vector<uint64_t>& tokens = before.expert_tokens[layer];
    for (size_t e = 0; e < tokens.size(); ++e) counters.expert_tokens[layer][e] -= tokens[e];
  }
}

}  // namespace

std::vector<double> LayerImbalance(const std::vector<std::vector<uint64_t>>& expert_tokens,
                                   const ExpertPlacement* experts, int32_t ep_size) {
  std::vector<double> layers;
  if (ep_size == 1) return layers;
  ExpertCounts one(expert_tokens.size());  // of one layer at a time
  for (size_t layer = 0; layer < expert_tokens.size(); ++layer) {
    layers.push_back(0);
    if (expert_tokens[layer].empty()) continue;
    one[layer] = expert_tokens[layer];
    const auto num_experts = static_cast<int32_t>(one[layer].size());
    layers.back() = experts != nullptr ? LoadImbalance(*experts, one)
                                       : LoadImbalance(ExpertPlacement::Blocks(num_experts, ep_size), one);
    one[layer].clear();
  }
  return layers;
}

RankMetrics ReadRankMetrics(const LoadedModel& model) {
  RankMetrics metrics;
  for (size_t i = 0; i < model.replicas.size(); ++i) {
    metrics.engines.push_back(model.replicas[i]->Counters());
    if (i < model.measured.size()) LeaveOut(model.measured[i], metrics.engines.back());
  }
  metrics.expert_load_imbalance =
      LayerImbalance(SumOf(metrics.engines).expert_tokens, model.plan.experts.get(),
                     model.plan.ranges.front().share.ep_size);
  return metrics;
}

Status RecordExpertLoad(const RunConfig& run, const LoadedModel& model) {
  const std::string& path = run.experts.record_file;
  if (path.empty()) return OkStatus();
  if (model.plan.model.num_experts == 0) {
    LogWarning("--record-expert-load {}: the model has no experts; nothing is written", path);
    return OkStatus();
  }
  for (const Pipeline* const replica : model.replicas) {
    if (!replica->Failure().ok())
      LogWarning("--record-expert-load: counts of processes that are gone may be missing");
  }
  std::ofstream file(path);
  file << ExpertCountsToJson(SumOf(ReadRankMetrics(model).engines).expert_tokens) << "\n";
  file.close();
  if (!file) return Internal("--record-expert-load: {} cannot be written", path);
  LogInfo("The load of experts is in {}", path);
  return OkStatus();
}

}  // namespace penstock
