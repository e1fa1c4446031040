// PromptCutter: cuts [pos, pos + len) into chunks by the time that they take, where limits want them to end.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "plan/prompt_plan.h"
#include "plan/slowest_stage.h"

namespace penstock {

// Targets at the two ends of a prompt that are smaller than in its middle: of chunk k from the front at most
// front_us * ratio^k, of chunk k from the back at most back_us * ratio^k. 0: no ramp.
struct Ramps {
  double ratio = 1;  // > 1
  double front_us = 0;
  double back_us = 0;
};

class PromptCutter {
 public:
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

  // `slowest` outlives it.
  PromptCutter(const SlowestStage& slowest, int64_t pos, int64_t len, const PlanLimits& limits);

  // The longest chunks that take at most `target_us`, the last one whatever is left. Lengths in `chunks`, if
  // given. Returns their number, or more than `give_up` as soon as there are more.
  int64_t Cut(double target_us, int64_t give_up, std::vector<int32_t>* chunks) const;
  void CutWithRamps(double target_us, const Ramps& ramps, std::vector<int32_t>* chunks) const;

  // Chunks that end near `ends` (from the prompt's begin, rising). False where that would break a limit.
  bool CutNear(const std::vector<double>& ends, std::vector<int32_t>* chunks) const;

  // The least target with which `count` chunks suffice, given one that suffices and one that does not.
  double LeastTarget(int64_t count, double too_little_us, double enough_us) const;

  double MostUs() const;   // no chunk takes longer, so the fewest chunks suffice with it
  double LeastUs() const;  // less than any chunk takes

  const PlanLimits& limits() const { return limits_; }
  int64_t len() const { return end_ - pos_; }

 private:
  int64_t EndOfChunk(int64_t pos, double target_us) const;
  int64_t BeginOfChunk(int64_t end, double target_us) const;
  double Capped(double target_us) const;

  const SlowestStage& slowest_;
  const int64_t pos_;
  const int64_t end_;
  const PlanLimits limits_;
};

}  // namespace penstock
