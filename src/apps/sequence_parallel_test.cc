// SPDX-License-Identifier: Apache-2.0
#include "apps/sequence_parallel.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using Times = std::vector<SequenceParallelTimes>;

// Steps of 32 to 2048 tokens, of which it saves a tenth, and costs as much as a tenth of 100 tokens more.
Times MakeTimes() {
  Times times;
  for (int32_t tokens = 32; tokens <= 2048; tokens *= 2) {
    times.push_back({tokens, 10.0 * tokens, 9.0 * tokens + 100});
  }
  return times;
}

TEST(SequenceParallelTest, PaysFromWhereItsCostIsPaidFor) {
  Times times = MakeTimes();
  EXPECT_NEAR(*SmallestPayingStep(times), 100, 1);
  for (SequenceParallelTimes& time : times) time.with_us -= 100;
  EXPECT_EQ(SmallestPayingStep(times), 32) << "not beyond what was measured";
  for (SequenceParallelTimes& time : times) time.with_us = time.without_us * 1.01;
  EXPECT_EQ(SmallestPayingStep(times), std::nullopt);
  EXPECT_EQ(SmallestPayingStep(Times{{32, 2, 1}}), 32);
  EXPECT_EQ(SmallestPayingStep(Times{{32, 1, 2}}), std::nullopt);
  EXPECT_EQ(SmallestPayingStep({}), std::nullopt);
}

TEST(SequenceParallelTest, OneDisturbedSizeDoesNotTurnItOff) {
  for (size_t disturbed = 0; disturbed < MakeTimes().size(); ++disturbed) {
    for (const double factor : {0.5, 2.0}) {
      Times times = MakeTimes();
      times[disturbed].with_us *= factor;
      const std::optional<int32_t> smallest = SmallestPayingStep(times);
      ASSERT_TRUE(smallest.has_value()) << disturbed;
      EXPECT_GE(*smallest, 50) << disturbed << " " << factor;
      EXPECT_LE(*smallest, 200) << disturbed << " " << factor;
    }
  }
}

TEST(SequenceParallelTest, SizesGrowToTheLargestAndTheMedianCounts) {
  int num_steps = 0;
  const auto times = *TimeSequenceParallel(200, 1e6, [&](int32_t tokens, bool is_on) -> Result<double> {
    const bool is_disturbed = ++num_steps % 10 <= 4;  // the first two of five, both ways
    return tokens + (is_on ? 0 : 10) + (is_disturbed ? 1000 * (num_steps % 10) : 0);
  });
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].tokens, 32);
  EXPECT_EQ(times[2].tokens, 200);
  EXPECT_EQ(times[2].with_us, 200);
  EXPECT_EQ(times[2].without_us, 210);
  EXPECT_EQ(num_steps, 30);
}

TEST(SequenceParallelTest, EndsBeforeTheBudgetIsSpent) {
  double spent_us = 0;
  const auto times = *TimeSequenceParallel(1 << 20, 10'000, [&](int32_t tokens, bool) -> Result<double> {
    spent_us += tokens;
    return tokens;
  });
  EXPECT_LE(spent_us, 10'000);
  EXPECT_EQ(times.back().tokens, 512);
  int num_steps = 0;
  const auto slow = *TimeSequenceParallel(1 << 20, 1000, [&](int32_t tokens, bool) -> Result<double> {
    ++num_steps;
    return 5.0 * tokens;
  });
  EXPECT_EQ(slow.back().tokens, 32) << "what one size takes is not known before";
  EXPECT_EQ(num_steps, 6) << "three times both ways";
  EXPECT_FALSE(
      TimeSequenceParallel(64, 1e6, [](int32_t, bool) -> Result<double> { return Internal("broken"); }).ok());
}

}  // namespace
}  // namespace penstock
