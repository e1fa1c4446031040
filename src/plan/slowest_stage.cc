// SPDX-License-Identifier: Apache-2.0
#include "plan/slowest_stage.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

// As far as chunks of prompts are concerned.
bool CostsAtLeast(const StageCost& a, const StageCost& b) {
  return a.step_us + a.seq_us >= b.step_us + b.seq_us && a.token_us >= b.token_us &&
         a.floor_us >= b.floor_us && a.pair_us >= b.pair_us && a.history_us >= b.history_us;
}

// The root of PredictChunk(pos, len) = target_us. The function is convex and rises, so Newton's method comes
// down to the root from any point above it; the root without the floor is one.
double LongestOnStage(const StageCost& cost, double pos, double target_us, double max_len) {
  const double fixed = cost.step_us + cost.seq_us + cost.history_us * pos;
  const double room = target_us - fixed;
  if (room <= cost.floor_us) return 0;
  const double linear = cost.token_us + cost.pair_us * pos;
  const double square = cost.pair_us / 2;
  double len = max_len;
  // 2 room / (linear + sqrt(linear² + 4 square room)): no cancellation, and right where square is 0.
  const double denominator = linear + std::sqrt(linear * linear + 4 * square * room);
  if (denominator > 0) len = std::min(max_len, 2 * room / denominator);
  if (cost.floor_us <= 0) return len;
  const double floor3 = cost.floor_us * cost.floor_us * cost.floor_us;
  for (int i = 0; i < 12; ++i) {
    const double linear_us = cost.token_us * len;
    if (linear_us > 70 * cost.floor_us) break;
    const double soft = std::cbrt(linear_us * linear_us * linear_us + floor3);
    const double excess = soft + cost.pair_us * len * (pos + len / 2) - room;
    if (excess <= 0) break;
    const double slope = cost.token_us * (linear_us / soft) * (linear_us / soft) + cost.pair_us * (pos + len);
    if (slope <= 0) break;
    const double step = excess / slope;
    len -= step;
    if (len <= 0) return 0;
    if (step < 0.05) break;  // the next would be far smaller
  }
  return len;
}

}  // namespace

SlowestStage::SlowestStage(const CostModel& cost) {
  for (const StageCost& stage : cost.stages) {
    all_equal_ &= stage == cost.stages.front();
    const bool outdone = std::any_of(stages_.begin(), stages_.end(),
                                     [&](const StageCost& other) { return CostsAtLeast(other, stage); });
    if (outdone) continue;
    std::erase_if(stages_, [&](const StageCost& other) { return CostsAtLeast(stage, other); });
    stages_.push_back(stage);
  }
}

double SlowestStage::ChunkUs(double pos, double len) const {
  double most = 0;
  for (const StageCost& stage : stages_) most = std::max(most, stage.PredictChunk(pos, len));
  return most;
}

double SlowestStage::LongestChunk(double pos, double target_us, double max_len) const {
  double len = max_len;
  for (const StageCost& stage : stages_) {
    len = LongestOnStage(stage, pos, target_us, len);
  }
  return len;
}

}  // namespace penstock
