// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace penstock {
namespace {

double SoftMax(double a, double b) {
  if (b <= 0) return a;
  // Beyond this the smaller one adds less than a millionth.
  if (a > 70 * b) return a;
  if (b > 70 * a) return b;
  return std::cbrt(a * a * a + b * b * b);
}

}  // namespace

double StageCost::Predict(const StepWork& work) const {
  return step_us + SoftMax(token_us * work.tokens, floor_us) + pair_us * work.pairs +
         history_us * work.history + seq_us * work.seqs + decode_token_us * work.decode_tokens +
         decode_context_us * work.decode_context;
}

double StageCost::PredictChunk(double pos, double len) const {
  return step_us + seq_us + SoftMax(token_us * len, floor_us) + pair_us * len * (pos + len / 2) +
         history_us * pos;
}

double StageCost::PureWork(double pos, double len) const {
  return token_us * len + pair_us * len * (pos + len / 2);
}

bool StageCost::IsSound() const {
  const double all[] = {step_us,    token_us, floor_us,        pair_us,
                        history_us, seq_us,   decode_token_us, decode_context_us};
  return std::all_of(std::begin(all), std::end(all), [](double x) { return std::isfinite(x) && x >= 0; }) &&
         std::any_of(std::begin(all), std::end(all), [](double x) { return x > 0; });
}

double CostModel::BottleneckUs(const StepWork& work) const {
  double most = 0;
  for (const StageCost& stage : stages) most = std::max(most, stage.Predict(work));
  return most;
}

double CostModel::BottleneckChunkUs(double pos, double len) const {
  double most = 0;
  for (const StageCost& stage : stages) most = std::max(most, stage.PredictChunk(pos, len));
  return most;
}

double CostModel::TraversalUs(const StepWork& work) const {
  double sum = 0;
  for (const StageCost& stage : stages) sum += stage.Predict(work);
  return sum;
}

StageCost CostModel::MeanStage() const {
  StageCost mean;
  const double share = 1.0 / static_cast<double>(stages.size());
  for (const StageCost& stage : stages) {
    mean.step_us += share * stage.step_us;
    mean.token_us += share * stage.token_us;
    mean.floor_us += share * stage.floor_us;
    mean.pair_us += share * stage.pair_us;
    mean.history_us += share * stage.history_us;
    mean.seq_us += share * stage.seq_us;
    mean.decode_token_us += share * stage.decode_token_us;
    mean.decode_context_us += share * stage.decode_context_us;
  }
  return mean;
}

double CostModel::PureWorkUs(double pos, double len) const {
  double sum = 0;
  for (const StageCost& stage : stages) sum += stage.PureWork(pos, len);
  return sum;
}

CostModel MakeBalancedCost(const WholeModelCost& whole, int num_stages) {
  CHECK_GT(num_stages, 0);
  return MakeWeightedCost(whole, std::vector<double>(num_stages, 1.0));
}

CostModel MakeWeightedCost(const WholeModelCost& whole, const std::vector<double>& shares) {
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  CHECK_GT(total, 0);
  constexpr double kUs = 1e6;
  CostModel model;
  for (double share : shares) {
    const double w = share / total * kUs;
    model.stages.push_back({.step_us = whole.d0 * kUs,
                            .token_us = whole.alpha * w,
                            .floor_us = whole.floor * w,
                            .pair_us = whole.beta * w,
                            .history_us = whole.gamma * w});
  }
  return model;
}

}  // namespace penstock
