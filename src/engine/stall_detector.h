// StallDetector: has the executor been silent for longer than its work can explain?
//
// The work of a step is known in tokens, and the time that tokens take is learnt from the steps that came
// back. A stall is no result for `factor` times what the oldest step in flight should take, and never less
// than `min_stall_us`: one very long step is no stall, and a dead executor is found out however long its
// steps were allowed to be.
//
// Pure: time is given. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <limits>

namespace penstock {

struct HealthRule {
  int64_t min_stall_us = 30'000'000;
  double factor = 20;
  int64_t first_step_us = 600'000'000;  // allowed while nothing is known: before the first result
};

class StallDetector {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  explicit StallDetector(const HealthRule& rule) : rule_(rule) {}

  void OnSubmit(int32_t num_tokens, int64_t now_us);
  void OnResult(int64_t now_us);  // of the oldest step

  // From when on silence is a stall; kNever while nothing is in flight.
  int64_t DeadlineUs() const;
  // When a step last came back, or was submitted to an idle executor.
  int64_t last_progress_us() const { return last_progress_us_; }
  // Time per token of steps of some size; 0: not known yet.
  double us_per_token() const { return us_per_token_; }

 private:
  const HealthRule rule_;
  std::deque<int32_t> tokens_in_flight_;  // by step, the oldest first
  int64_t last_progress_us_ = 0;
  bool any_result_ = false;
  // The slowest seen of late, so that a single quick step does not make the next look late.
  double us_per_step_ = 0;  // of any step
  double us_per_token_ =
      0;  // of steps of at least kManyTokens, in which tokens cost more than the step itself
};

}  // namespace penstock
