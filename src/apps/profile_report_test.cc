// SPDX-License-Identifier: Apache-2.0
#include "apps/profile_report.h"

#include <gtest/gtest.h>

#include "apps/testing/small_plan.h"

namespace penstock {
namespace {

// 10 ms: 8 of a product at half the peak, 1 of a pass over memory, 1 in between.
StageProfile HalfThePeak() {
  StageProfile stage;
  stage.layers = "layers 0-3, core 0";
  stage.peaks = {.f32_gflops = 50, .bf16_gflops = 100, .int8_gops = 0, .read_gb_per_s = 20};
  PhaseProfile& prefill = stage.phases[0];
  prefill.steps = 2;
  prefill.tokens = 64;
  prefill.time_ns = 10'000'000;
  prefill.ops = {{{"RmsNorm", Arithmetic::kNone, {0, 0}}, 4, 1'000'000, {0, 5e6}},
                 {{"Linear", Arithmetic::kBF16, {1024, 4096}}, 2, 8'000'000, {400e6, 16e6}}};
  return stage;
}

TEST(ProfileReport, RowsSayWhereTimeWentAndWhatIsLost) {
  const StageProfile stage = HalfThePeak();
  const std::vector<OpRow> rows = OpRows(stage.phases[0], stage.peaks);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].op, "Linear");
  EXPECT_EQ(rows[0].shape, "1024x4096 bf16");
  EXPECT_DOUBLE_EQ(rows[0].gflops, 50);
  EXPECT_DOUBLE_EQ(rows[0].share_of_peak, 0.5);
  EXPECT_DOUBLE_EQ(rows[0].gb_per_s, 2);
  EXPECT_DOUBLE_EQ(rows[0].lost_share, 0.4);
  EXPECT_EQ(rows[1].op, "RmsNorm");
  EXPECT_DOUBLE_EQ(rows[1].gb_per_s, 5);
  EXPECT_DOUBLE_EQ(rows[1].lost_share, 0.1);
  EXPECT_EQ(rows[2].op, "between operations");
  EXPECT_DOUBLE_EQ(rows[2].seconds, 1e-3);
  double shares = 0, lost = ShareOfRoof(stage.phases[0], stage.peaks);
  for (const OpRow& row : rows) shares += row.share, lost += row.lost_share;
  EXPECT_DOUBLE_EQ(shares, 1);
  EXPECT_DOUBLE_EQ(lost, 1);
}

TEST(ProfileReport, AnUnknownPeakIsNoShare) {
  StageProfile stage = HalfThePeak();
  stage.phases[0].ops[1].key.arithmetic = Arithmetic::kInt8;
  EXPECT_EQ(OpRows(stage.phases[0], stage.peaks)[0].share_of_peak, 0);
  EXPECT_EQ(ShareOfRoof(stage.phases[0], stage.peaks), 0);
}

TEST(ProfileReport, TextAndJson) {
  const std::vector<StageProfile> stages = {HalfThePeak()};
  const std::string text = ProfileText(stages);
  EXPECT_NE(text.find("Stage 0: layers 0-3, core 0; peaks: f32 50.0, bf16 100.0, int8 -"), std::string::npos)
      << text;
  EXPECT_NE(text.find("prefill: 2 steps, 64 tokens, 10.0 ms, 6400.0 tokens/s, 40.0%"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("decode"), std::string::npos) << text;
  const Json json = ProfileJson(stages);
  EXPECT_DOUBLE_EQ(json[0]["peak"]["bf16_gflops_per_s"], 100);
  EXPECT_DOUBLE_EQ(json[0]["prefill"]["share_of_roof"], 0.4);
  EXPECT_EQ(json[0]["prefill"]["ops"][0]["op"], "Linear");
  EXPECT_EQ(json[0]["prefill"]["ops"].size(), 3u);
  EXPECT_FALSE(json[0].contains("decode"));
}

TEST(MeasureStagePeaks, OneForEachStage) {
  const std::vector<Peaks> peaks = MeasureStagePeaks(SmallPlan(1));
  ASSERT_EQ(peaks.size(), 1u);
  for (const Peaks& peak : peaks) EXPECT_GE(peak.bf16_gflops, 0);
}

}  // namespace
}  // namespace penstock
