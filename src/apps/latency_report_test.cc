// SPDX-License-Identifier: Apache-2.0
#include "apps/latency_report.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

LatencyReport SmallReport() {
  LatencyReport report;
  report.model = "m";
  report.input_len = 100;
  report.output_len = 10;
  report.batch_size = 2;
  report.samples = {{2.0, {0.5, 1.0}, {1.0, 1.5}}, {4.0, {0.5, 3.0}, {2.0, 3.0}}};
  return report;
}

TEST(LatencyReport, Json) {
  const Json json = LatencyJson(SmallReport());
  EXPECT_EQ(json["model_id"], "m");
  EXPECT_DOUBLE_EQ(json["avg_latency"], 3.0);
  EXPECT_EQ(json["latencies"], Json::parse("[2.0, 4.0]"));
  EXPECT_DOUBLE_EQ(json["percentiles"]["25"], 2.5);
  EXPECT_DOUBLE_EQ(json["ttft"]["mean"], 1.25);
  EXPECT_DOUBLE_EQ(json["ttft"]["max"], 3.0);
  EXPECT_DOUBLE_EQ(json["input_tokens_per_second"], 100.0);      // 400 tokens in 1 + 3 s
  EXPECT_DOUBLE_EQ(json["output_tokens_per_second"], 40.0 / 6);  // 40 tokens in 2 + 4 s
  EXPECT_DOUBLE_EQ(json["stage_busy_share"][0], 0.5);
  EXPECT_DOUBLE_EQ(json["stage_busy_share"][1], 0.75);
}

TEST(LatencyReport, TextHasVllmsLines) {
  const std::string text = LatencyText(SmallReport());
  EXPECT_TRUE(text.starts_with("Avg latency: 3 seconds\n10% percentile latency: 2.2 seconds\n")) << text;
  EXPECT_NE(text.find("\n99% percentile latency: 3.98 seconds\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Busy share of stages: 50.0% 75.0%\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace penstock
