// IdleFinder: why a stage did not work. From the stamps of steps, in the order of steps, it names every slice
// of time in which a stage is idle during a busy period: from the first step that is submitted to an engine
// without live requests until there are none again.
//
//   fill                  before the stage's first step of the busy period
//   starved               the step that it did next had not been submitted
//   waiting for receive   that step was on an earlier stage
//   host gap              it had the step, and did not begin: queues, wake-ups, the host between two steps
//   drain                 after its last step, while later stages still work
//
// One clock for all stages. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "plan/step.h"

namespace penstock {

enum class IdleCause { kFill, kStarved, kReceive, kHostGap, kDrain };

inline constexpr IdleCause kAllIdleCauses[] = {IdleCause::kFill, IdleCause::kStarved, IdleCause::kReceive,
                                               IdleCause::kHostGap, IdleCause::kDrain};

std::string_view IdleCauseName(IdleCause cause);  // as above

struct IdleSlice {
  int32_t stage = 0;
  IdleCause cause = IdleCause::kStarved;
  int64_t begin_us = 0;
  int64_t end_us = 0;  // > begin_us
};

class IdleFinder {
 public:
  // Both append what they find to `slices`. `stamps` in the order of stages.
  void OnStep(int64_t submit_us, std::span<const StageStamp> stamps, std::vector<IdleSlice>* slices);
  // All steps so far have come back, and nothing is left to do.
  void EndPeriod(std::vector<IdleSlice>* slices);

 private:
  std::optional<int64_t> period_begin_us_;             // of the busy period; nothing: none
  int64_t last_end_us_ = 0;                            // of all stages
  std::vector<std::optional<int64_t>> stage_free_us_;  // since when; nothing: no step in this period yet
};

}  // namespace penstock
