// SPDX-License-Identifier: Apache-2.0
#include "plan/optimal_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "plan/policy_replay.h"

namespace penstock {
namespace {

constexpr WholeModelCost kDeepSeek = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .gamma = 0, .floor = 0.16, .d0 = 0.015};

PlannerOptions Options() {
  PlannerOptions options;
  options.max_tokens = 32768;
  options.block_size = 128;
  options.max_model_len = 1 << 20;
  return options;
}

// One step, as the scheduler asks for it: every prompt in its order. Returns what each gets.
std::map<SeqId, int32_t> MakeStep(OptimalPlanner& planner, const std::vector<PrefillDemand>& prefills,
                                  int32_t steps_in_flight, std::vector<ChunkShape> shapes = {},
                                  int32_t budget = 32768) {
  std::map<SeqId, int32_t> taken;
  planner.BeginStep({.prefills = prefills,
                     .step_chunks = shapes,
                     .steps_in_flight = steps_in_flight,
                     .max_tokens = budget});
  for (const PrefillDemand& prefill : prefills) {
    if (budget == 0 || !planner.MayServe(prefill.seq)) continue;
    const int32_t len = planner.NextChunk({.seq = prefill.seq,
                                           .pos = prefill.pos,
                                           .remaining = prefill.remaining,
                                           .max_len = std::min(prefill.remaining, budget),
                                           .step_chunks = shapes});
    EXPECT_GE(len, 0);
    EXPECT_LE(len, std::min(prefill.remaining, budget));
    if (len == 0) continue;
    shapes.push_back({.pos = prefill.pos, .len = len});
    taken[prefill.seq] = len;
    budget -= len;
  }
  return taken;
}

std::vector<PrefillDemand> Waiting(int count, int32_t pos, int32_t remaining) {
  std::vector<PrefillDemand> prefills;
  for (int i = 0; i < count; ++i) {
    prefills.push_back({.seq = static_cast<SeqId>(i + 1), .pos = pos, .remaining = remaining});
  }
  return prefills;
}

TEST(OptimalPlanner, WithoutAModelItIsStatic) {
  OptimalPlanner planner(Options());
  EXPECT_EQ(MakeStep(planner, Waiting(1, 0, 100'000), 0).at(1), 32768);
}

TEST(OptimalPlanner, AloneItKeepsToThePlan) {
  for (int num_stages : {2, 4, 8, 16}) {
    for (bool equal : {true, false}) {
      std::vector<double> shares(num_stages, 1.0);
      if (!equal) shares.back() = 1.3;
      const CostModel cost = MakeWeightedCost(kDeepSeek, shares);
      OptimalPlanner planner(Options());
      planner.SetCost(cost);
      const PromptPlan played = ReplayPolicy(planner, cost, 0, 131072, 32768);
      const PromptPlan plan =
          PlanPrompt(cost, 0, 131072, {.align = 128, .min_chunk = 1, .max_chunk = 32768, .max_step_us = 0});
      EXPECT_LE(played.makespan_us, 1.002 * plan.makespan_us)
          << num_stages << (equal ? " equal" : " unequal");
    }
  }
}

// What is measured is never quite equal.
TEST(OptimalPlanner, NearlyEqualStagesAreEqual) {
  OptimalPlanner nearly(Options()), exactly(Options());
  nearly.SetCost(MakeWeightedCost(kDeepSeek, {1.0, 1.02, 0.99, 1.0}));
  exactly.SetCost(MakeBalancedCost(kDeepSeek, 4));
  EXPECT_NEAR(MakeStep(nearly, Waiting(1, 0, 131072), 0).at(1),
              MakeStep(exactly, Waiting(1, 0, 131072), 0).at(1), 128);
}

TEST(OptimalPlanner, ChunksGrowWithTheQueue) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 4);
  int32_t alone = 0, last = 0;
  for (int count : {1, 2, 4, 8}) {
    OptimalPlanner planner(Options());
    planner.SetCost(cost);
    const std::map<SeqId, int32_t> step = MakeStep(planner, Waiting(count, 0, 131072), 0);
    ASSERT_EQ(step.size(), 1u);
    EXPECT_GE(step.at(1), last) << count;
    last = step.at(1);
    if (count == 1) alone = last;
  }
  EXPECT_GT(last, 1.5 * alone);
  EXPECT_LT(last, 32768) << "overheads are small long before that";
}

TEST(OptimalPlanner, ATargetNeverFallsWhileItsPromptRuns) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 4);
  OptimalPlanner planner(Options());
  planner.SetCost(cost);
  std::vector<PrefillDemand> prefills = Waiting(8, 0, 131072);
  const int32_t first = MakeStep(planner, prefills, 0).at(1);
  const double first_us = cost.BottleneckChunkUs(0, first);
  // The others have gone.
  const PrefillDemand rest{.seq = 1, .pos = first, .remaining = 131072 - first, .is_running = true};
  const int32_t second = MakeStep(planner, {rest}, 1).at(1);
  EXPECT_GT(cost.BottleneckChunkUs(first, second), 0.85 * first_us);
}

// Nearly all of each prompt is cached.
TEST(OptimalPlanner, WholePromptsAreSpreadOverTheStages) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 4);
  OptimalPlanner planner(Options());
  planner.SetCost(cost);
  std::vector<PrefillDemand> prefills = Waiting(16, 32000, 330);
  std::set<SeqId> served;
  int num_steps = 0;
  for (; !prefills.empty() && num_steps < 16; ++num_steps) {
    const std::map<SeqId, int32_t> step = MakeStep(planner, prefills, num_steps);
    EXPECT_GE(step.size(), 2u);
    EXPECT_LE(step.size(), 8u);
    for (const auto& [seq, len] : step) {
      EXPECT_EQ(len, 330);
      served.insert(seq);
    }
    std::erase_if(prefills, [&](const PrefillDemand& prefill) { return step.contains(prefill.seq); });
  }
  EXPECT_EQ(served.size(), 16u);
  EXPECT_GE(num_steps, 4);
  EXPECT_LE(num_steps, 6);
}

TEST(OptimalPlanner, LargeAndSmallPromptsShareStepsEvenly) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  OptimalPlanner planner(Options());
  planner.SetCost(cost);
  // By their work alone the two large ones would be together, or the small ones would.
  std::vector<PrefillDemand> prefills = {{.seq = 1, .pos = 2000, .remaining = 64},
                                         {.seq = 2, .pos = 2000, .remaining = 64},
                                         {.seq = 3, .pos = 60000, .remaining = 600},
                                         {.seq = 4, .pos = 60000, .remaining = 600}};
  const std::map<SeqId, int32_t> step = MakeStep(planner, prefills, 0);
  ASSERT_EQ(step.size(), 2u);
  EXPECT_TRUE(step.contains(1));
  EXPECT_TRUE(step.contains(3) || step.contains(4));
}

TEST(OptimalPlanner, WhatComesLateJoinsTheNextStep) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  OptimalPlanner planner(Options());
  planner.SetCost(cost);
  std::vector<PrefillDemand> prefills = Waiting(4, 32000, 330);
  ASSERT_EQ(MakeStep(planner, prefills, 0).size(), 2u);
  ASSERT_EQ(MakeStep(planner, {prefills[2], prefills[3]}, 1).size(), 2u);
  // Both stages have work; a third step would only take from the next ones.
  EXPECT_TRUE(MakeStep(planner, {{.seq = 9, .pos = 32000, .remaining = 330}}, 2).empty());
  EXPECT_EQ(MakeStep(planner, {{.seq = 9, .pos = 32000, .remaining = 330}}, 1).size(), 1u);
}

TEST(OptimalPlanner, ASmallPromptHasAStepOfItsOwn) {
  const CostModel cost = MakeBalancedCost({.alpha = 1e-4, .beta = 3e-9, .d0 = 0.002}, 2);
  OptimalPlanner planner(Options());
  planner.SetCost(cost);
  const PrefillDemand large{.seq = 1, .pos = 30000, .remaining = 100'000, .is_running = true};
  const std::map<SeqId, int32_t> step = MakeStep(planner, {{.seq = 2, .pos = 0, .remaining = 100}, large}, 2);
  EXPECT_EQ(step, (std::map<SeqId, int32_t>{{2, 100}}));
  // In the order of service the large one comes first: no reason to wait for the small one.
  EXPECT_TRUE(MakeStep(planner, {large, {.seq = 3, .pos = 0, .remaining = 100}}, 2).contains(1));
}

TEST(OptimalPlanner, StepsKeepToTheirTimeDecodesIncluded) {
  CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  for (StageCost& stage : cost.stages) stage.decode_token_us = 3000;
  PlannerOptions options = Options();
  options.max_step_us = 400'000;
  for (int num_decodes : {0, 10, 60}) {
    OptimalPlanner planner(options);
    planner.SetCost(cost);
    std::vector<ChunkShape> shapes(num_decodes, {.pos = 1000, .len = 1, .is_decode = true});
    const int32_t len = MakeStep(planner, Waiting(1, 50'000, 131072), 0, shapes).at(1);
    shapes.push_back({.pos = 50'000, .len = std::max(len - 128, 1)});
    EXPECT_LE(cost.BottleneckUs(WorkOf(shapes)), options.max_step_us) << num_decodes;
    shapes.back().len = len + 256;
    EXPECT_GT(cost.BottleneckUs(WorkOf(shapes)), options.max_step_us) << "shorter than it need be";
  }
}

TEST(OptimalPlanner, TheOperatorsLimitsHold) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 8);
  PlannerOptions options = Options();
  options.min_chunk = 4096;
  OptimalPlanner floored(options);
  floored.SetCost(cost);
  const PromptPlan plan = ReplayPolicy(floored, cost, 0, 131072, 32768);
  for (size_t k = 0; k + 1 < plan.chunks.size(); ++k) EXPECT_GE(plan.chunks[k], 4096);

  options = Options();
  OptimalPlanner sharp(options);
  options.smooth_factor = 0.5;
  OptimalPlanner smooth(options);
  sharp.SetCost(cost);
  smooth.SetCost(cost);
  const int32_t len = MakeStep(sharp, Waiting(1, 0, 131072), 0).at(1);
  EXPECT_NEAR(MakeStep(smooth, Waiting(1, 0, 131072), 0).at(1), 32768 + 0.5 * (len - 32768), 128);
}

// Any order of calls, any sound costs: answers stay within their bounds, and every prompt comes to its end.
TEST(OptimalPlanner, AnythingGoes) {
  std::mt19937 random(5);
  for (int run = 0; run < 20; ++run) {
    PlannerOptions options = Options();
    options.max_tokens = 1 + static_cast<int32_t>(random() % 5000);
    options.block_size = 1 << (random() % 8);
    if (random() % 3 == 0) options.max_step_us = 1 + static_cast<double>(random() % 100'000);
    OptimalPlanner planner(options);
    std::map<SeqId, PrefillDemand> live;
    std::deque<std::vector<ChunkShape>> in_flight;
    SeqId next_seq = 1;
    int64_t num_steps = 0;
    while (!live.empty() || next_seq < 20) {
      ASSERT_LT(++num_steps, 100'000);
      if (random() % 50 == 0) {
        CostModel cost;
        for (int s = 0; s < 3; ++s) {
          const auto any = [&] {
            return random() % 3 ? std::exp(static_cast<double>(random() % 20) - 10) : 0.0;
          };
          cost.stages.push_back({.step_us = any() + 1e-3,
                                 .token_us = any(),
                                 .floor_us = any(),
                                 .pair_us = any(),
                                 .history_us = any(),
                                 .seq_us = any(),
                                 .decode_token_us = any(),
                                 .decode_context_us = any()});
        }
        planner.SetCost(cost);
      }
      if (next_seq < 20 && (live.empty() || random() % 4 == 0)) {
        live[next_seq] = {.seq = next_seq,
                          .pos = static_cast<int32_t>(random() % 3 * 1000),
                          .remaining = 1 + static_cast<int32_t>(random() % 20'000)};
        ++next_seq;
      }
      std::vector<PrefillDemand> prefills;
      for (const auto& [seq, prefill] : live) prefills.push_back(prefill);
      std::shuffle(prefills.begin(), prefills.end(), random);
      const std::map<SeqId, int32_t> step =
          MakeStep(planner, prefills, static_cast<int32_t>(in_flight.size()), {}, options.max_tokens);
      std::vector<ChunkShape> shapes;
      for (auto [seq, len] : step) {
        PrefillDemand& prefill = live.at(seq);
        shapes.push_back({.pos = prefill.pos, .len = len});
        prefill = {
            .seq = seq, .pos = prefill.pos + len, .remaining = prefill.remaining - len, .is_running = true};
        if (prefill.remaining == 0) live.erase(seq);
      }
      if (!shapes.empty()) in_flight.push_back(shapes);
      if (!in_flight.empty() && (in_flight.size() > 3 || shapes.empty())) {
        if (random() % 10) planner.OnStep({.chunks = in_flight.front(), .stamps = {}});  // some steps fail
        in_flight.pop_front();
      }
    }
  }
}

}  // namespace
}  // namespace penstock
