// SPDX-License-Identifier: Apache-2.0
#include "engine/stall_detector.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr int64_t kSecond = 1'000'000;
const HealthRule kRule = {.min_stall_us = 30 * kSecond, .factor = 10, .first_step_us = 600 * kSecond};

TEST(StallDetector, IdleIsNeverStalled) {
  StallDetector detector(kRule);
  EXPECT_EQ(detector.DeadlineUs(), StallDetector::kNever);
  detector.OnSubmit(100, 5);
  detector.OnResult(6);
  EXPECT_EQ(detector.DeadlineUs(), StallDetector::kNever);
}

TEST(StallDetector, FirstStepMayTakeLong) {
  StallDetector detector(kRule);
  detector.OnSubmit(100, 1000 * kSecond);
  EXPECT_EQ(detector.DeadlineUs(), 1600 * kSecond);
}

TEST(StallDetector, QuickStepsAreGivenTheMinimum) {
  StallDetector detector(kRule);
  int64_t now_us = 0;
  for (int i = 0; i < 100; ++i) {
    detector.OnSubmit(1, now_us);
    now_us += 20'000;
    detector.OnResult(now_us);
  }
  detector.OnSubmit(1, now_us);
  EXPECT_EQ(detector.DeadlineUs(), now_us + 30 * kSecond);
}

TEST(StallDetector, LongStepIsAllowedItsTokens) {
  StallDetector detector(kRule);
  detector.OnSubmit(1000, 0);
  detector.OnResult(10 * kSecond);  // 10 ms per token
  detector.OnSubmit(32000, 10 * kSecond);
  EXPECT_EQ(detector.DeadlineUs(), 10 * kSecond + 10 * 320 * kSecond);
  // Decode steps: their slowness says nothing about tokens.
  StallDetector decode(kRule);
  decode.OnSubmit(1, 0);
  decode.OnResult(kSecond);
  decode.OnSubmit(32000, kSecond);
  EXPECT_EQ(decode.DeadlineUs(), kSecond + 30 * kSecond);
}

TEST(StallDetector, ProgressOfAnyStepCounts) {
  StallDetector detector(kRule);
  detector.OnSubmit(1, 0);
  detector.OnSubmit(1, 0);
  detector.OnResult(2 * kSecond);
  EXPECT_EQ(detector.last_progress_us(), 2 * kSecond);
  EXPECT_EQ(detector.DeadlineUs(), 32 * kSecond);
}

}  // namespace
}  // namespace penstock
