// SPDX-License-Identifier: Apache-2.0
#include "apps/calibration_report.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

CalibrationReport Example() {
  CalibrationReport report;
  report.cost = {{{.step_us = 10, .token_us = 2}, {.step_us = 12, .pair_us = 0.5}}};
  report.grid = {.median_error = 0.01, .p90_error = 0.04, .num_samples = 28};
  report.unseen = {.median_error = 0.02, .p90_error = 0.06, .num_samples = 100};
  report.ttfts_s = {1.5, 1.25};
  report.path = "/cache/cost.json";
  return report;
}

TEST(CalibrationReport, Json) {
  const Json json = CalibrationJson(Example());
  EXPECT_EQ(json["stages"].size(), 2u);
  EXPECT_EQ(json["stages"][1]["pair_us"], 0.5);
  EXPECT_EQ(json["unseen"]["p90_error"], 0.06);
  EXPECT_EQ(json["grid"]["num_samples"], 28);
  EXPECT_EQ(json["ttfts_s"], (std::vector<double>{1.5, 1.25}));
  EXPECT_EQ(json["saved_to"], "/cache/cost.json");
  EXPECT_EQ(CalibrationJson({})["saved_to"], Json());
}

TEST(CalibrationReport, Text) {
  const std::string text = CalibrationText(Example());
  EXPECT_NE(text.find("stage 1                      12.0"), std::string::npos) << text;
  EXPECT_NE(text.find("Of it on other steps:        2.0 % median,   6.0 % p90, 100 samples"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("Kept in /cache/cost.json"), std::string::npos);
}

}  // namespace
}  // namespace penstock
