// StagePartition: which layers each pipeline stage holds.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock {

// Number of layers of each stage, first stage first. All are > 0 and their sum is `num_layers`.
//
// vLLM's rule, so that a checkpoint is cut where its users expect it: what does not divide evenly goes, one
// layer each, to the stages from the second to last backwards, because the last one also has the head.
//   61 layers, 4 stages: 15 15 16 15        61 layers, 2 stages: 31 30
// kInvalidArgument if there are more stages than layers.
Result<std::vector<int32_t>> DefaultStagePartition(int32_t num_layers, int32_t num_stages);

// What the parts of a model cost, in any unit.
struct LayerCosts {
  std::vector<double> layers;  // [num_layers], finite and >= 0
  double embedding = 0;        // on the first stage, besides
  double head = 0;             // on the last stage, besides

  // Of each stage of a partition.
  std::vector<double> StageCosts(std::span<const int32_t> partition) const;
};

// The partition whose most expensive stage costs least; of these the one whose stages are most alike (least
// sum of squares), and the default one where it is as good. kInvalidArgument if there are more stages than
// layers.
Result<std::vector<int32_t>> BalancedStagePartition(const LayerCosts& costs, int32_t num_stages);

// `costs` as they were measured: those of a stage that took longer than its share, compared with the others,
// grow by that factor. `measured`: the time of each stage of `partition`, > 0, in any unit.
LayerCosts ScaleToMeasured(LayerCosts costs, std::span<const int32_t> partition,
                           std::span<const double> measured);

// The operator's own list, "16,15,15,15". kInvalidArgument unless it has `num_stages` numbers > 0 whose sum
// is `num_layers`.
Result<std::vector<int32_t>> ParseStagePartition(std::string_view text, int32_t num_layers,
                                                 int32_t num_stages);

}  // namespace penstock
