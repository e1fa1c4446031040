// SPDX-License-Identifier: Apache-2.0
#include "sim/plan_table.h"

#include <gtest/gtest.h>

#include "plan/prompt_plan.h"
#include "sim/cost_spec.h"

namespace penstock {
namespace {

PlanTable DeepSeekTable(std::vector<ChunkPolicy> policies, std::vector<int32_t> lengths) {
  const CostModel cost = *ResolveCost(*ParseCostSpec("deepseek-v3.1"), 2, {});
  const PlannerOptions options = {.max_tokens = 32768, .block_size = 128};
  return *MakePlanTable(cost, options, policies, lengths, 5);
}

// The seed's case: measured 27.0 and 22.5 s.
TEST(PlanTable, PoliciesSideBySide) {
  const PlanTable table =
      DeepSeekTable({kAllChunkPolicies, kAllChunkPolicies + std::size(kAllChunkPolicies)}, {131072});
  const PromptPlans& plans = table.lengths.at(0);
  ASSERT_EQ(plans.rows.size(), 4u);
  const double expected[] = {27.0, 22.51, 23.7, 20.94};
  const char* const names[] = {"static", "equal-latency", "sglang", "optimal"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(plans.rows[i].policy, names[i]);
    EXPECT_NEAR(plans.rows[i].ttft_s, expected[i], 0.01 * expected[i]);
    EXPECT_NEAR(plans.rows[i].efficiency, plans.ideal_s / plans.rows[i].ttft_s, 1e-6);
  }
  EXPECT_NEAR(plans.ideal_s, 19.69, 0.01);
  EXPECT_LT(plans.rows[3].ttft_s, 20.95);
}

TEST(PlanTable, TextAndJson) {
  const PlanTable table = DeepSeekTable({ChunkPolicy::kStatic}, {8192, 49152});
  EXPECT_EQ(PlanTableText(table),
            "  prompt  policy            TTFT s  efficiency  chunks\n"
            "    8192  static             1.051       48.5%  1: 8192\n"
            "    8192  ideal              0.510      100.0%\n"
            "   49152  static             7.161       62.8%  2: 32768, 16384\n"
            "   49152  ideal              4.500      100.0%\n");
  const Json json = PlanTableJson(table);
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[1]["prompt_len"], 49152);
  EXPECT_EQ(json[1]["policies"][0]["policy"], "static");
  EXPECT_EQ(json[1]["policies"][0]["chunks"], Json({32768, 16384}));
  EXPECT_EQ(json[1]["policies"][0]["ttft_s"], table.lengths[1].rows[0].ttft_s);
  EXPECT_EQ(json[1]["ideal_s"], table.lengths[1].ideal_s);
}

}  // namespace
}  // namespace penstock
