// SPDX-License-Identifier: Apache-2.0
#include "apps/sequence_parallel.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using Times = std::vector<SequenceParallelTimes>;

TEST(SequenceParallelTest, PaysFromWhereItStaysFaster) {
  EXPECT_EQ(SmallestPayingStep(Times{{32, 1, 2}, {64, 3, 2}, {128, 5, 4}}), 64);
  EXPECT_EQ(SmallestPayingStep(Times{{32, 3, 2}, {64, 3, 4}, {128, 5, 4}}), 128);
  EXPECT_EQ(SmallestPayingStep(Times{{32, 2, 1}, {64, 2, 1}}), 32);
  EXPECT_EQ(SmallestPayingStep(Times{{32, 2, 1}, {64, 2, 2}}), std::nullopt);
  EXPECT_EQ(SmallestPayingStep({}), std::nullopt);
}

TEST(SequenceParallelTest, SizesGrowToTheLargestAndTheBestTimeCounts) {
  int num_steps = 0;
  const auto times = *TimeSequenceParallel(100, 1e6, [&](int32_t tokens, bool is_on) -> Result<double> {
    return tokens + (is_on ? 0 : 10) + ++num_steps % 3;
  });
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].tokens, 32);
  EXPECT_EQ(times[2].tokens, 100);
  EXPECT_EQ(times[2].with_us, 100);
  EXPECT_EQ(times[2].without_us, 110);
  EXPECT_EQ(num_steps, 18);
}

TEST(SequenceParallelTest, EndsBeforeTheBudgetIsSpent) {
  double spent_us = 0;
  const auto times = *TimeSequenceParallel(1 << 20, 10'000, [&](int32_t tokens, bool) -> Result<double> {
    spent_us += tokens;
    return tokens;
  });
  EXPECT_LE(spent_us, 10'000);
  EXPECT_EQ(times.back().tokens, 512);
  EXPECT_FALSE(
      TimeSequenceParallel(64, 1e6, [](int32_t, bool) -> Result<double> { return Internal("broken"); }).ok());
}

}  // namespace
}  // namespace penstock
