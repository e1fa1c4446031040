// SPDX-License-Identifier: Apache-2.0
#include "base/percentile.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock {
namespace {

TEST(Percentile, InterpolatesAsNumpy) {
  const std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(Percentile(values, 0), 1);
  EXPECT_DOUBLE_EQ(Percentile(values, 10), 1.3);
  EXPECT_DOUBLE_EQ(Percentile(values, 50), 2.5);
  EXPECT_DOUBLE_EQ(Percentile(values, 99), 3.97);
  EXPECT_DOUBLE_EQ(Percentile(values, 100), 4);
  EXPECT_DOUBLE_EQ(Percentile(std::vector<double>{7}, 90), 7);
}

}  // namespace
}  // namespace penstock
