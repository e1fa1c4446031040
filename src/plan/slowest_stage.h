// SlowestStage: the envelope of several stages' costs: what a chunk takes on whichever stage it takes
// longest.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "plan/cost_model.h"

namespace penstock {

class SlowestStage {
 public:
  explicit SlowestStage(const CostModel& cost);

  bool all_equal() const { return all_equal_; }
  double ChunkUs(double pos, double len) const;
  // The longest chunk that takes at most `target_us` on every stage; 0 … max_len.
  double LongestChunk(double pos, double target_us, double max_len) const;

 private:
  std::vector<StageCost> stages_;  // those that no other one outdoes in every coefficient
  bool all_equal_ = true;
};

}  // namespace penstock
