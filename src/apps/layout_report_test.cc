// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_report.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(LayoutReportTest, CountsPromptTokensForEachRank) {
  const LayoutBenchReport report{
      .model = "m",
      .concurrency = 4,
      .prefix_hit = 0.99,
      .rows = {{.layout = "pp2", .num_ranks = 2, .input_len = 1000, .ttfts_s = {3, 1, 2}, .seconds = 6}}};
  EXPECT_EQ(report.rows[0].ttft_s(), 2);
  EXPECT_EQ(report.rows[0].tokens_per_s_per_rank(), 250);
  const std::string text = LayoutText(report);
  EXPECT_NE(text.find("4 clients at once, 99 % of each prompt"), std::string::npos) << text;
  EXPECT_NE(text.find("pp2                 2      1000         3       2.000 s           250.0\n"),
            std::string::npos)
      << text;
  const Json json = LayoutJson(report);
  EXPECT_EQ(json["layouts"][0]["layout"], "pp2");
  EXPECT_EQ(json["layouts"][0]["input_tokens_per_s_per_rank"], 250.0);
}

}  // namespace
}  // namespace penstock
