// EqualFit against an exact search, on random cost models.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/prompt_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "plan/testing/exact_plan.h"

namespace penstock {
namespace {

constexpr WholeModelCost kDeepSeek = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .floor = 0.16, .d0 = 0.015};
constexpr WholeModelCost kDeepSeekLean = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .floor = 0.052, .d0 = 0.002};
constexpr WholeModelCost kQwen = {
    .alpha = 9.68098792240622e-5, .beta = 2.21580228936910e-9, .floor = 0.16, .d0 = 0.015};
constexpr WholeModelCost kKimi = {.alpha = 2.412e-5, .beta = 2.6e-9, .gamma = 2.156e-6, .d0 = 0.0456};

PlanLimits Limits(int32_t max_chunk, int32_t align = 128) {
  return {.align = align, .min_chunk = align, .max_chunk = max_chunk};
}

int64_t Sum(const std::vector<int32_t>& chunks) {
  return std::accumulate(chunks.begin(), chunks.end(), int64_t{0});
}

// A model of some engine: what attention, the floor and overheads weigh differs by orders of magnitude.
WholeModelCost RandomCost(std::mt19937& random) {
  const auto between = [&](double low, double high) {
    return std::exp(std::uniform_real_distribution<>(std::log(low), std::log(high))(random));
  };
  WholeModelCost cost;
  cost.alpha = between(1e-5, 1e-3);
  cost.beta = cost.alpha / between(5e3, 3e5);
  cost.gamma = random() % 2 ? cost.alpha * between(1e-3, 3e-2) : 0;
  cost.floor = random() % 3 ? cost.alpha * between(100, 4000) : 0;
  cost.d0 = cost.alpha * between(1, 200);
  return cost;
}

TEST(PromptPlan, MakespanIsTheRecurrence) {
  CostModel cost;
  cost.stages = {{.step_us = 1, .token_us = 1}, {.step_us = 2, .token_us = 2}};
  // Stage 0 ends at 11, 32; stage 1 at 11 + 22 = 33, then max(33, 32) + 42.
  EXPECT_DOUBLE_EQ(Makespan(cost, 0, std::vector<int32_t>{10, 20}), 75);
}

TEST(PromptPlan, LongestChunkInvertsTheModel) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const CostModel cost = MakeBalancedCost(RandomCost(random), 1 + i % 8);
    const double pos = random() % 1'000'000, len = 1 + random() % 30'000;
    const double time = cost.BottleneckChunkUs(pos, len);
    EXPECT_NEAR(LongestChunk(cost, pos, time, 1e6), len, 1e-3 * len + 0.5);
    EXPECT_DOUBLE_EQ(LongestChunk(cost, pos, time, len / 2), len / 2);
    EXPECT_DOUBLE_EQ(LongestChunk(cost, pos, cost.BottleneckChunkUs(pos, 0) * 0.99, 1e6), 0);
  }
}

// The figures of the seed's machine: what no knob gives there.
TEST(PromptPlan, SeedCells) {
  const auto seconds = [](const WholeModelCost& whole, int stages, int64_t len) {
    const CostModel cost = MakeBalancedCost(whole, stages);
    return PlanPrompt(cost, 0, len, Limits(32768)).makespan_us / 1e6;
  };
  EXPECT_LE(seconds(kDeepSeek, 2, 131072), 20.95);
  EXPECT_LE(seconds(kQwen, 2, 262144), 52.8);
  EXPECT_LE(seconds(kDeepSeek, 4, 131072), 11.40);
  EXPECT_LE(seconds(kDeepSeek, 8, 131072), 6.61);
  EXPECT_LE(seconds(kDeepSeek, 16, 131072), 4.28);
  EXPECT_LE(seconds(kDeepSeekLean, 2, 131072), 20.20);
  EXPECT_NEAR(Makespan(MakeBalancedCost(kDeepSeek, 2), 0, FixedChunks(131072, 32768)) / 1e6, 27.0, 0.02);
  EXPECT_NEAR(Makespan(MakeBalancedCost(kQwen, 2), 0, FixedChunks(262144, 32768)) / 1e6, 61.4, 0.02);
  const double kimi[] = {14.88, 11.53, 10.15, 10.38, 12.42};
  for (int i = 0; i < 5; ++i) {
    EXPECT_NEAR(Makespan(MakeBalancedCost(kKimi, 4), 0, FixedChunks(131072, 32768 >> i)) / 1e6, kimi[i],
                0.02);
  }
}

TEST(PromptPlan, LeanEfficiency) {
  const double least[] = {0.97, 0.93, 0.87, 0.78};
  for (int i = 0; i < 4; ++i) {
    const CostModel cost = MakeBalancedCost(kDeepSeekLean, 2 << i);
    const PromptPlan plan = PlanPrompt(cost, 0, 131072, Limits(32768));
    EXPECT_GE(PipelineEfficiency(cost, 0, 131072, plan.makespan_us), least[i]) << (2 << i) << " stages";
  }
}

// Makespans of PlanPrompt over those of the exact search, both cutting at the same slices. The search can
// have no more than a few dozen of them, so models are left out whose best chunks are not a few slices long:
// they would be spoilt by the grid.
std::vector<double> Ratios(size_t num_models, bool equal_stages) {
  std::vector<double> ratios;
  std::mt19937 random(equal_stages ? 7 : 8);
  const int64_t slices = equal_stages ? 80 : 36;
  while (ratios.size() < num_models) {
    const int num_stages = equal_stages ? 2 + random() % 15 : 2 + random() % 4;
    std::vector<double> shares(num_stages, 1.0);
    if (!equal_stages) {
      for (double& share : shares) share = 1 + (random() % 3 == 0 ? 0.5 : 0.1) * (random() % 1000) / 1000.0;
    }
    const CostModel cost = MakeWeightedCost(RandomCost(random), shares);
    const int64_t len = int64_t{4096} << (random() % 9);
    const auto slice = static_cast<int32_t>(len / slices);
    const int64_t pos = random() % 3 == 0 ? slice * static_cast<int64_t>(random() % 100) : 0;
    const PlanLimits limits = {.align = slice,
                               .min_chunk = slice,
                               .max_chunk = static_cast<int32_t>(slices * slice),
                               .max_step_us = 0};
    const PromptPlan plan = PlanPrompt(cost, pos, slices * slice, limits);
    if (static_cast<int64_t>(plan.chunks.size()) * 3 > slices) continue;
    EXPECT_EQ(Sum(plan.chunks), slices * slice);
    EXPECT_NEAR(plan.makespan_us, Makespan(cost, pos, plan.chunks), 1e-6 * plan.makespan_us);
    ratios.push_back(plan.makespan_us / testing::ExactMakespan(cost, pos, slices, slice));
    EXPECT_GE(ratios.back(), 1 - 1e-9) << "the exact search is not exact";
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("over the exact optimum: median %.4f, worst %.4f\n", ratios[ratios.size() / 2], ratios.back());
  return ratios;
}

TEST(PromptPlan, NearTheExactOptimumWithEqualStages) {
  const std::vector<double> ratios = Ratios(150, true);
  EXPECT_LE(ratios[ratios.size() / 2], 1.01);
  EXPECT_LE(ratios.back(), 1.02);
}

TEST(PromptPlan, NearTheExactOptimumWithUnequalStages) {
  const std::vector<double> ratios = Ratios(100, false);
  EXPECT_LE(ratios[ratios.size() / 2], 1.01);
  EXPECT_LE(ratios.back(), 1.02);
}

TEST(PromptPlan, NeverWorseThanTheBestFixedChunk) {
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) {
    const int num_stages = 2 + random() % 15;
    std::vector<double> shares(num_stages, 1.0);
    if (i % 2) shares[random() % num_stages] = 1.3;
    const CostModel cost = MakeWeightedCost(RandomCost(random), shares);
    const int64_t len = int64_t{4096} << (random() % 9);
    const PromptPlan plan = PlanPrompt(cost, 0, len, Limits(32768));
    for (int32_t fixed = 256; fixed <= 32768; fixed += 256) {
      ASSERT_LE(plan.makespan_us, 1.01 * Makespan(cost, 0, FixedChunks(len, fixed)))
          << fixed << " of " << len;
    }
  }
}

TEST(PromptPlan, KeepsToItsLimits) {
  std::mt19937 random(4);
  for (int i = 0; i < 400; ++i) {
    const CostModel cost = MakeBalancedCost(RandomCost(random), 1 + random() % 16);
    PlanLimits limits;
    limits.align = 1 << (random() % 9);
    limits.max_chunk = limits.align * (1 + random() % 64);
    limits.min_chunk = 1 + random() % limits.max_chunk;
    limits.max_step_us = random() % 2 ? cost.BottleneckChunkUs(0, limits.max_chunk) : 0;
    const int64_t pos = random() % 3 ? random() % 10'000 : 0;
    const int64_t len = 1 + random() % 100'000;
    const PromptPlan plan = PlanPrompt(cost, pos, len, limits);
    EXPECT_EQ(Sum(plan.chunks), len);
    int64_t end = pos;
    for (size_t k = 0; k < plan.chunks.size(); ++k) {
      const bool last = k + 1 == plan.chunks.size();
      end += plan.chunks[k];
      EXPECT_GT(plan.chunks[k], 0);
      EXPECT_LE(plan.chunks[k], limits.max_chunk);
      if (!last) {
        EXPECT_EQ(end % limits.align, 0);
        EXPECT_GE(plan.chunks[k], std::min(limits.min_chunk, limits.max_chunk - limits.align + 1))
            << limits.align;
      }
    }
  }
}

TEST(PromptPlan, StepsKeepToTheirTime) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 4);
  PlanLimits limits = Limits(32768);
  const PromptPlan free_plan = PlanPrompt(cost, 0, 131072, limits);
  limits.max_step_us = free_plan.target_us / 2;
  int64_t pos = 0;
  for (int32_t chunk : PlanPrompt(cost, 0, 131072, limits).chunks) {
    // Rounding to the next multiple may go a little beyond.
    EXPECT_LE(cost.BottleneckChunkUs(pos, std::max(chunk - 128, 0)), limits.max_step_us);
    pos += chunk;
  }
}

// Step by step, the same prompt is cut as well as at once, and has no tail.
TEST(PromptPlan, NextEqualChunkMakesThePlan) {
  for (const WholeModelCost& whole : {kDeepSeek, kDeepSeekLean, kQwen, kKimi}) {
    for (int num_stages : {2, 4, 8, 16}) {
      for (int64_t len : {5000, 32768, 131072, 1'000'000}) {
        const CostModel cost = MakeBalancedCost(whole, num_stages);
        const PromptPlan plan = PlanPrompt(cost, 0, len, Limits(32768));
        std::vector<int32_t> chunks;
        for (int64_t pos = 0; pos < len; pos += chunks.back()) {
          chunks.push_back(NextEqualChunk(cost, pos, len - pos, plan.target_us, Limits(32768)));
          ASSERT_GT(chunks.back(), 0);
        }
        EXPECT_EQ(Sum(chunks), len);
        EXPECT_LE(Makespan(cost, 0, chunks), 1.01 * plan.makespan_us) << num_stages << " stages, " << len;
      }
    }
  }
}

TEST(PromptPlan, OneStageTakesTheFewestSteps) {
  EXPECT_EQ(PlanPrompt(MakeBalancedCost(kDeepSeek, 1), 0, 100'000, Limits(32768)).chunks.size(), 4u);
}

TEST(PromptPlan, AbsurdCostsAreSurvived) {
  for (const StageCost& stage :
       {StageCost{.step_us = 1}, StageCost{.floor_us = 1e9}, StageCost{.token_us = 1e-12},
        StageCost{.pair_us = 1e9}, StageCost{.history_us = 1e6},
        StageCost{.step_us = 1e15, .token_us = 1e-9}}) {
    CostModel cost;
    cost.stages.assign(4, stage);
    const PromptPlan plan = PlanPrompt(cost, 1000, 1'000'000, Limits(8192));
    EXPECT_EQ(Sum(plan.chunks), 1'000'000);
    EXPECT_GT(NextEqualChunk(cost, 0, 1'000'000, 1, Limits(8192)), 0);
  }
}

// Recorded, not judged: machines differ.
TEST(PromptPlan, PlanTime) {
  for (int64_t len : {131072, 1048576}) {
    for (bool equal : {true, false}) {
      std::vector<double> shares(16, 1.0);
      if (!equal) shares[3] = 1.2;
      const CostModel cost = MakeWeightedCost(kDeepSeekLean, shares);
      const auto begin = std::chrono::steady_clock::now();
      const PromptPlan plan = PlanPrompt(cost, 0, len, Limits(32768));
      const double ms =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
      std::printf("%lld tokens, 16 %s stages: %zu chunks, planned in %.2f ms\n", static_cast<long long>(len),
                  equal ? "equal" : "unequal", plan.chunks.size(), ms);
      EXPECT_FALSE(plan.chunks.empty());
    }
  }
}

}  // namespace
}  // namespace penstock
