// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation_report.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

std::vector<SimulationReport> TwoRequests() {
  SimulationReport report;
  report.policy = "static";
  report.requests = {{.prompt_len = 100, .output_len = 1, .ttft_s = 1, .e2e_s = 1, .chunks = {60, 40}},
                     {.prompt_len = 200,
                      .cached_len = 64,
                      .output_len = 5,
                      .arrival_s = 1,
                      .ttft_s = 2,
                      .e2e_s = 3,
                      .chunks = {136}}};
  report.duration_s = 4;
  report.stage_busy_share = {0.5, 0.25};
  report.efficiency = 0.125;
  return {report};
}

TEST(SimulationReport, Json) {
  const std::vector<SimulationReport> reports = TwoRequests();
  const Json one = ReportsJson(reports, ReportDetail::kOnePrompt);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].dump(), R"({"policy":"static","ttft_s":1.5,"efficiency":0.125,"chunks":[60,40],)"
                           R"("stage_busy_share":[0.5,0.25],"steps":0,"duration_s":4.0})");
  const Json all = ReportsJson(reports, ReportDetail::kPerRequest)[0];
  EXPECT_EQ(all["ttft_mean_s"], 1.5);
  EXPECT_EQ(all["ttft_median_s"], 1.5);
  EXPECT_EQ(all["ttft_p99_s"], 1.99);
  EXPECT_EQ(all["e2e_mean_s"], 2.0);
  EXPECT_EQ(all["requests_per_s"], 0.5);
  EXPECT_EQ(all["input_tokens_per_s"], 75.0);
  EXPECT_EQ(all["output_tokens_per_s"], 1.5);
  EXPECT_EQ(all["requests"][1]["cached_len"], 64);
  EXPECT_EQ(all["requests"][1]["chunks"], Json({136}));
  EXPECT_FALSE(ReportsJson(reports, ReportDetail::kWorkload)[0].contains("requests"));
}

TEST(SimulationReport, Text) {
  const std::vector<SimulationReport> reports = TwoRequests();
  EXPECT_EQ(ReportsText(reports, ReportDetail::kOnePrompt, 0.25),
            "policy            TTFT s  efficiency  chunks\n"
            "static             1.000       12.5%  2: 60, 40\n"
            "ideal              0.250      100.0%\n");
  const std::string text = ReportsText(reports, ReportDetail::kPerRequest, 0);
  EXPECT_NE(
      text.find("static             1.500     1.500     1.990     0.500          75       0       12.5%  "
                "50 25%\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("     1.000       200        64       5     2.000     3.000  1: 136\n"),
            std::string::npos)
      << text;
}

TEST(SimulationReport, ChunkLists) {
  EXPECT_EQ(FormatChunks(std::vector<int32_t>{8, 8, 7, 6, 6, 6}), "2 × 8, 7, 3 × 6");
  std::vector<int32_t> many;
  for (int32_t i = 0; i < 20; ++i) many.push_back(100 - i);
  EXPECT_EQ(FormatChunks(many), "100, 99, 98, 97, 96, 95, … 8 more …, 86, 85, 84, 83, 82, 81");
}

}  // namespace
}  // namespace penstock
