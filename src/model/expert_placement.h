// ExpertPlacement: which ranks of an expert-parallel group hold which experts, layer by layer.
//
// By default each rank has a block of neighbouring experts. Where the load of the experts is known
// (ExpertLoad), hot ones are held more than once and all are spread so that the ranks have the same to do:
//
//   replicate   num_redundant times, the expert with the most load for each of its copies gets one more
//   pack        copies in falling order of load, each to the rank with the least load that has room and does
//               not hold the expert yet
//
// as DeepSeek's EPLB does, https://github.com/deepseek-ai/EPLB.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/expert_load.h"
#include "model/model_config.h"

namespace penstock {

class ExpertPlacement {
 public:
  // experts[rank]: what it holds.
  using LayerSlots = std::vector<std::vector<int32_t>>;

  // Rank r holds the experts [RowCut(num_experts, ep_size, r), RowCut(num_experts, ep_size, r + 1)).
  static ExpertPlacement Blocks(int32_t num_experts, int32_t ep_size);

  // From counts of routed tokens, [num_experts] where a layer has some. Ranks hold num_experts +
  // num_redundant copies together, the same number each up to one; no rank holds an expert twice, so that
  // num_redundant is at most num_experts * (ep_size - 1).
  static ExpertPlacement FromLoad(const ExpertCounts& load, int32_t num_experts, int32_t ep_size,
                                  int32_t num_redundant);

  // For the layers that are given; the others have blocks. kInvalidArgument where an expert is nowhere, twice
  // on a rank, or does not exist.
  static Result<ExpertPlacement> FromSlots(std::vector<LayerSlots> layers, int32_t num_experts,
                                           int32_t ep_size);

  int32_t num_experts() const { return num_experts_; }
  int32_t ep_size() const { return ep_size_; }

  // Ranks that hold the expert, rising; never empty.
  std::span<const int32_t> RanksOf(int32_t layer, int32_t expert) const;
  bool Holds(int32_t layer, int32_t expert, int32_t rank) const;

  // Whether no rank is without an expert.
  bool AllRanksHold(int32_t layer) const { return LayerOf(layer).all_ranks_hold; }

  // Where `own_rank` sends row `row` for this expert: to itself where it can, else to the copies in turn.
  int32_t RankFor(int32_t layer, int32_t expert, int32_t own_rank, int64_t row) const {
    const std::span<const int32_t> ranks = RanksOf(layer, expert);
    if (ranks.size() == 1) return ranks[0];
    for (const int32_t rank : ranks) {
      if (rank == own_rank) return rank;
    }
    return ranks[static_cast<size_t>(row) % ranks.size()];
  }

 private:
  struct Layer {
    std::vector<int32_t> begin;  // [num_experts + 1]
    std::vector<int32_t> ranks;  // of each expert
    bool all_ranks_hold = false;
  };

  ExpertPlacement(int32_t num_experts, int32_t ep_size);
  Layer MakeLayer(const LayerSlots& slots) const;
  const Layer& LayerOf(int32_t layer) const;

  const int32_t num_experts_;
  const int32_t ep_size_;
  Layer blocks_;               // of layers that have none of their own
  std::vector<Layer> layers_;  // empty ones: blocks_
};

// The load of the rank with the most, over the mean; 1: all have the same. An expert's copies share its load.
// 1 where nothing was counted.
double LoadImbalance(const ExpertPlacement& placement, const ExpertCounts& counts);

// What --expert-placement names: counts as ExpertCountsToJson() writes them, from which a placement is made,
// or an expert map of vLLM-Ascend ({"layer_list": [{"layer_id", "device_list": [{"device_expert"}]}]}), which
// is one already (num_redundant says nothing then). There, layers with experts are numbered from 0.
// kInvalidArgument names `path`, and what does not fit the model or the number of ranks.
Result<ExpertPlacement> ParseExpertPlacement(std::string_view text, const std::string& path,
                                             const ModelConfig& config, int32_t ep_size,
                                             int32_t num_redundant);

}  // namespace penstock
