// The profile of a stage over a real model: what is counted, and when there is none.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "pipeline/testing/tiny_stage.h"

namespace penstock {
namespace {

using testing::TinyStage;

const OpStats* Find(const PhaseProfile& phase, std::string_view op) {
  const auto found =
      std::ranges::find_if(phase.ops, [&](const OpStats& stats) { return stats.key.op == op; });
  return found == phase.ops.end() ? nullptr : &*found;
}

TEST(StageProfile, CoversAStepAndTellsItsKind) {
  OpProfile profile;
  TinyStage tiny("qwen3", 1, &profile);
  for (const auto& [pos, len] : {std::pair{0, 40}, {40, 30}, {70, 1}}) {
    StagePacket packet = tiny.MakePacket(pos, len);
    tiny.stage().Execute(packet);
    EXPECT_EQ(packet.result->tokens.size(), 1u);
  }
  const auto phases = profile.Take();
  const PhaseProfile &prefill = phases[0], &decode = phases[1];
  EXPECT_EQ(prefill.steps, 2);
  EXPECT_EQ(prefill.tokens, 70);
  EXPECT_EQ(decode.steps, 1);
  EXPECT_EQ(decode.tokens, 1);
  for (const PhaseProfile& phase : phases) {
    ASSERT_NE(Find(phase, "GqaAttention"), nullptr);
    EXPECT_EQ(Find(phase, "GqaAttention")->calls, 4 * phase.steps);  // layers
    ASSERT_NE(Find(phase, "Sample"), nullptr);
    EXPECT_EQ(Find(phase, "Sample")->calls, phase.steps);
    EXPECT_GT(phase.between_ops_ns(), 0);
    EXPECT_LT(phase.between_ops_ns(), phase.time_ns);
  }
  // Of the last layer, the rows that are sampled from: positions 39 and 69.
  EXPECT_EQ(Find(prefill, "GqaAttention")->work.flops, (4.0 * 4 * 32) * (3 * (70 * 71 / 2) + 40 + 70));
}

}  // namespace
}  // namespace penstock
