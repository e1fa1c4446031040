// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "plan/testing/measured_costs.h"

namespace penstock {
namespace {

constexpr StageCost kAll = {.step_us = 100,
                            .token_us = 2,
                            .floor_us = 300,
                            .pair_us = 1e-3,
                            .history_us = 0.01,
                            .seq_us = 7,
                            .decode_token_us = 3,
                            .decode_context_us = 0.02};

TEST(StepWork, SumsOverChunks) {
  const StepWork work = WorkOf(std::vector<ChunkShape>{
      {.pos = 100, .len = 10}, {.pos = 0, .len = 4}, {.pos = 50, .len = 1, .is_decode = true}});
  EXPECT_EQ(work.tokens, 15);
  EXPECT_EQ(work.pairs, 100 * 10 + 10 * 10 / 2 + 4 * 4 / 2);
  EXPECT_EQ(work.history, 100);
  EXPECT_EQ(work.seqs, 3);
  EXPECT_EQ(work.decode_tokens, 1);
  EXPECT_EQ(work.decode_context, 50);
}

TEST(StageCost, IsTheFormula) {
  const StepWork work = WorkOf(std::vector<ChunkShape>{{.pos = 1000, .len = 200},  //
                                                       {.pos = 50, .len = 1, .is_decode = true}});
  const double tokens = std::cbrt(std::pow(2 * 201, 3) + std::pow(300, 3));
  EXPECT_NEAR(kAll.Predict(work), 100 + tokens + 1e-3 * 220000 + 0.01 * 1000 + 7 * 2 + 3 + 0.02 * 50, 1e-9);
}

TEST(StageCost, OneChunkIsTheSameWithoutSums) {
  for (int32_t pos : {0, 1, 777, 131072}) {
    for (int32_t len : {1, 63, 4096}) {
      EXPECT_NEAR(kAll.PredictChunk(pos, len), kAll.Predict(WorkOf(ChunkShape{.pos = pos, .len = len})),
                  1e-6);
    }
  }
}

TEST(StageCost, TheFloorHoldsForFewTokensAndVanishesForMany) {
  const StageCost cost = {.token_us = 2, .floor_us = 300};
  EXPECT_NEAR(cost.PredictChunk(0, 1), 300, 0.1);
  EXPECT_NEAR(cost.PredictChunk(0, 150), 300 * std::cbrt(2.0), 1e-9);
  EXPECT_NEAR(cost.PredictChunk(0, 100000), 200000, 0.1);
  double before = 0;
  for (int len = 1; len < 20000; ++len) {  // also where soft_max is cut short
    const double now = cost.PredictChunk(0, len);
    ASSERT_GE(now, before);
    before = now;
  }
}

TEST(StageCost, PureWorkDoesNotDependOnTheCut) {
  const double whole = kAll.PureWork(0, 10000);
  EXPECT_NEAR(kAll.PureWork(0, 3000) + kAll.PureWork(3000, 7000), whole, 1e-6);
  EXPECT_LT(whole, kAll.PredictChunk(0, 10000));
}

TEST(StageCost, SoundIsFiniteNotNegativeAndNotNothing) {
  EXPECT_TRUE(kAll.IsSound());
  EXPECT_FALSE(StageCost{}.IsSound());
  EXPECT_TRUE(StageCost{.decode_context_us = 1}.IsSound());
  for (double bad : {-1e-9, std::nan(""), std::numeric_limits<double>::infinity()}) {
    StageCost cost = kAll;
    cost.history_us = bad;
    EXPECT_FALSE(cost.IsSound());
  }
}

TEST(CostModel, SlowestStageAndTraversal) {
  const CostModel model = {{kAll, {.token_us = 4}, {.step_us = 10}}};
  const StepWork small = WorkOf(ChunkShape{.len = 1}), large = WorkOf(ChunkShape{.len = 1000});
  EXPECT_EQ(model.BottleneckUs(small), kAll.Predict(small));
  EXPECT_EQ(model.BottleneckUs(large), 4000);
  EXPECT_NEAR(model.BottleneckChunkUs(0, 1000), 4000, 1e-9);
  EXPECT_EQ(model.TraversalUs(large), kAll.Predict(large) + 4000 + 10);
  EXPECT_EQ(model.PureWorkUs(0, 1000), kAll.PureWork(0, 1000) + 4000);
  EXPECT_FALSE(CostModel{}.known());
}

TEST(CostModel, WholeModelIsSharedAndTheConstantIsNot) {
  const WholeModelCost& whole = kMeasuredCosts[0].whole;
  const CostModel model = MakeWeightedCost(whole, {1, 3});
  ASSERT_EQ(model.num_stages(), 2);
  EXPECT_EQ(model.stages[0].step_us, model.stages[1].step_us);
  EXPECT_NEAR(model.stages[1].token_us, 0.75 * whole.alpha * 1e6, 1e-9);
  EXPECT_NEAR(3 * model.stages[0].PureWork(5, 6), model.stages[1].PureWork(5, 6), 1e-6);
  const CostModel balanced = MakeBalancedCost(whole, 2);
  EXPECT_EQ(balanced.stages[0], balanced.stages[1]);
  EXPECT_NEAR(balanced.PureWorkUs(0, 131072), model.PureWorkUs(0, 131072), 1);
  // The seed's machine: 128k tokens are 39.4 s of work.
  EXPECT_NEAR(balanced.PureWorkUs(0, 131072) / 1e6, 39.4, 0.1);
}

}  // namespace
}  // namespace penstock
