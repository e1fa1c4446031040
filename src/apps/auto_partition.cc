// SPDX-License-Identifier: Apache-2.0
#include "apps/auto_partition.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "apps/saved_cost_model.h"
#include "base/log.h"
#include "model/layer_flops.h"

namespace penstock {

Result<LayerCosts> PromptCosts(const ModelConfig& model, int32_t len) {
  ASSIGN_OR_RETURN(const ModelFlops flops, CountFlops(model));
  const double tokens = len;
  LayerCosts costs;
  for (const LayerFlops& layer : flops.layers) {
    costs.layers.push_back(layer.per_token * tokens + layer.per_pair * tokens * tokens / 2);
  }
  costs.embedding = flops.embedding_per_token * tokens;
  costs.head = flops.head_per_sample;
  return costs;
}

Result<std::vector<int32_t>> AutoPartition(const RunConfig& run, const EnginePlan& default_plan) {
  const int32_t len = default_plan.options.max_model_len;
  ASSIGN_OR_RETURN(LayerCosts costs, PromptCosts(default_plan.model, len));
  std::vector<int32_t> partition;
  for (int32_t stage = 0; stage < run.layout.pp; ++stage) {
    const LayerRange& range = default_plan.ranges[default_plan.Leader(static_cast<size_t>(stage))];
    partition.push_back(range.last_layer - range.first_layer);
  }

  const CostModelKey key = MakeCostModelKey(run, default_plan);
  const LoadedCostModel loaded = LoadCostModel(CostModelPath(run, key), key);
  std::vector<double> measured;
  if (loaded.saved) {
    for (const StageCost& stage : loaded.saved->model.stages) measured.push_back(stage.PureWork(0, len));
  }
  const bool is_measured =
      !measured.empty() && std::ranges::all_of(measured, [](double time_us) { return time_us > 0; });
  if (is_measured) costs = ScaleToMeasured(std::move(costs), partition, measured);
  ASSIGN_OR_RETURN(const std::vector<int32_t> balanced, BalancedStagePartition(costs, run.layout.pp));
  LogInfo("--pp-layer-partition auto: {} (by default {}), by {}", fmt::join(balanced, ","),
          fmt::join(partition, ","),
          is_measured ? "the measured times of the default" : "the operations of each layer");
  return balanced;
}

}  // namespace penstock
