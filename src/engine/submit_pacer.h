// SubmitPacer: when the next step is handed to the executor.
//
// What is in a step is settled when it is submitted, so whoever comes after that waits for one step more. A
// step is therefore not submitted before the first stage has nearly run out of work:
//
//   first stage   [    step k, 500 ms      ][ step k + 1 …
//                                        ▲
//                                  submit k + 1: at most kQueuedWorkUs of predicted work are left
//
// The margin covers the time to plan a step and to hand it over, and errors of the prediction; where a step
// ends too early all the same, the executor says so and the next one follows at once. Steps shorter than the
// margin (decode) are queued as before, as many as the scheduler allows.
//
// Only the first stage is looked at: steps that wait before a slower, later stage are bounded by the
// scheduler's number of steps in flight.
//
// Pure: time is given. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <limits>

#include "plan/executor.h"

namespace penstock {

class SubmitPacer {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  static constexpr int64_t kQueuedWorkUs = 10'000;

  // `first_stage_us`: predicted time there; 0: not known, then it holds nothing back.
  void OnSubmit(double first_stage_us) { first_stage_us_.push_back(first_stage_us); }
  void OnResult() { first_stage_us_.pop_front(); }  // of the oldest step

  // From when on the next step may be submitted: `now_us`, or later. A step that takes longer than predicted
  // does not hold it back for longer.
  int64_t NotBeforeUs(const FirstStageLoad& load, int64_t now_us) const;

 private:
  std::deque<double> first_stage_us_;  // of the steps in flight, the oldest first
};

}  // namespace penstock
