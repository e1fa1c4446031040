// SPDX-License-Identifier: Apache-2.0
#include "engine/stall_detector.h"

#include <algorithm>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int32_t kManyTokens = 64;
constexpr double kDecay = 0.98;  // of a maximum, at each result

}  // namespace

void StallDetector::OnSubmit(int32_t num_tokens, int64_t now_us) {
  if (tokens_in_flight_.empty()) last_progress_us_ = now_us;
  tokens_in_flight_.push_back(num_tokens);
}

void StallDetector::OnResult(int64_t now_us) {
  CHECK(!tokens_in_flight_.empty());
  const int32_t num_tokens = tokens_in_flight_.front();
  tokens_in_flight_.pop_front();
  const auto step_us = static_cast<double>(now_us - last_progress_us_);
  us_per_step_ = std::max(step_us, us_per_step_ * kDecay);
  if (num_tokens >= kManyTokens) us_per_token_ = std::max(step_us / num_tokens, us_per_token_ * kDecay);
  last_progress_us_ = now_us;
  any_result_ = true;
}

int64_t StallDetector::DeadlineUs() const {
  if (tokens_in_flight_.empty()) return kNever;
  if (!any_result_) return last_progress_us_ + std::max(rule_.first_step_us, rule_.min_stall_us);
  const double expected_us = std::max(us_per_step_, us_per_token_ * tokens_in_flight_.front());
  return last_progress_us_ + std::max(rule_.min_stall_us, static_cast<int64_t>(rule_.factor * expected_us));
}

}  // namespace penstock
