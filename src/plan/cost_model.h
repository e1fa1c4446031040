// CostModel: how long each stage of the pipeline works on a step. Plain numbers, predicted from what is in
// the step; cost_fit.h finds them from measurements.
//
// Stage s on a step with the sums of StepWork (tokens, pairs, …):
//
//   t_s = step + soft_max(token * tokens, floor) + pair * pairs + history * history
//              + seq * seqs + decode_token * decode_tokens + decode_context * decode_context
//
// soft_max(a, b) = (a³ + b³)^(1/3): small steps stream the weights once whatever their size (the floor),
// large ones cost by the token. All coefficients are >= 0, so time never falls when work is added.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/step_work.h"

namespace penstock {

// Microseconds, and microseconds per unit of StepWork.
struct StageCost {
  double step_us = 0;
  double token_us = 0;
  double floor_us = 0;
  double pair_us = 0;
  double history_us = 0;
  double seq_us = 0;
  double decode_token_us = 0;
  double decode_context_us = 0;

  double Predict(const StepWork& work) const;
  // One chunk of a prompt: the same as Predict(WorkOf({pos, len})), without the sums.
  double PredictChunk(double pos, double len) const;
  // A prompt's span [pos, pos + len) cut into ever larger chunks: what is left is the work itself, without
  // anything that is paid per step. The denominator of pipeline efficiency. (history is paid per step, so it
  // is left out.)
  double PureWork(double pos, double len) const;

  // All coefficients finite and >= 0, and not all of them 0.
  bool IsSound() const;
  bool operator==(const StageCost&) const = default;
};

struct CostModel {
  std::vector<StageCost> stages;  // [num_stages]; empty: nothing is known yet

  bool known() const { return !stages.empty(); }
  int num_stages() const { return static_cast<int>(stages.size()); }
  // Of the slowest stage.
  double BottleneckUs(const StepWork& work) const;
  double BottleneckChunkUs(double pos, double len) const;
  // From the first stage's begin to the last one's end, the pipeline otherwise empty.
  double TraversalUs(const StepWork& work) const;
  // Coefficient by coefficient. REQUIRES: known().
  StageCost MeanStage() const;
  // Over all stages.
  double PureWorkUs(double pos, double len) const;
  bool operator==(const CostModel&) const = default;
};

// The whole model's coefficients, cut into balanced stages: planner.md's
//   t(h, c) = d0 + w (((alpha c)³ + floor³)^(1/3) + beta (h c + c²/2) + gamma h),  w = 1 / num_stages
// in seconds; d0 is per chunk and stage.
struct WholeModelCost {
  double alpha = 0;
  double beta = 0;
  double gamma = 0;
  double floor = 0;
  double d0 = 0;
};
CostModel MakeBalancedCost(const WholeModelCost& whole, int num_stages);
// The same with the share of each stage given: weights > 0, scaled so that their sum is 1.
CostModel MakeWeightedCost(const WholeModelCost& whole, const std::vector<double>& shares);

}  // namespace penstock
