// SPDX-License-Identifier: Apache-2.0
#include "plan/policy_replay.h"

#include <gtest/gtest.h>

#include <numeric>

#include "plan/equal_latency.h"
#include "plan/sglang_planner.h"

namespace penstock {
namespace {

using Chunks = std::vector<int32_t>;

// The machine of the published measurements: see docs/benchmarks.md for where these come from.
constexpr WholeModelCost kDeepSeek = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .floor = 0.16, .d0 = 0.015};
constexpr WholeModelCost kQwen = {
    .alpha = 9.68098792240622e-5, .beta = 2.21580228936910e-9, .floor = 0.16, .d0 = 0.015};

PlannerOptions Options(bool need_timing) {
  return {.policy = ChunkPolicy::kEqualLatency,
          .max_tokens = 32768,
          .block_size = 128,
          .max_model_len = 1 << 20,
          .need_timing = need_timing};
}

// Writes down what it is told.
class Recorder : public ChunkPlanner {
 public:
  std::string_view name() const override { return "recorder"; }
  void BeginStep(const StepQuery& query) override {
    ASSERT_EQ(query.prefills.size(), 1u);
    in_flight.push_back(query.steps_in_flight);
    running.push_back(query.prefills[0].is_running);
  }
  int32_t NextChunk(const ChunkQuery& query) override {
    ++num_asked;
    return say_no ? 0 : std::min(query.max_len, 100);
  }
  void OnStep(const StepTiming& timing) override {
    ASSERT_EQ(timing.chunks.size(), 1u);
    positions.push_back(timing.chunks[0].pos);
    stamps.insert(stamps.end(), timing.stamps.begin(), timing.stamps.end());
  }
  void SetCost(const CostModel& cost) override { num_stages = cost.num_stages(); }

  bool say_no = false;
  int num_asked = 0, num_stages = 0;
  Chunks in_flight, running, positions;
  std::vector<StageStamp> stamps;
};

TEST(ReplayPolicy, TellsThePlannerWhatASchedulerWould) {
  // 100 tokens take 100 us on stage 0 and 200 us on stage 1.
  const CostModel cost{.stages = {{.token_us = 1}, {.token_us = 2}}};
  Recorder planner;
  const PromptPlan plan = ReplayPolicy(planner, cost, 50, 450, 256);
  EXPECT_EQ(plan.chunks, (Chunks{100, 100, 100, 100, 50}));
  EXPECT_EQ(plan.makespan_us, 1000);
  EXPECT_EQ(plan.target_us, 200);
  EXPECT_EQ(planner.num_stages, 2);
  EXPECT_EQ(planner.in_flight, (Chunks{0, 1, 2, 2, 2}));
  EXPECT_EQ(planner.running, (Chunks{0, 1, 1, 1, 1}));
  EXPECT_EQ(planner.positions, (Chunks{50, 150, 250, 350, 450}));
  ASSERT_EQ(planner.stamps.size(), 10u);
  EXPECT_EQ(planner.stamps[2].begin_us, 100);  // stage 0 goes on at once
  EXPECT_EQ(planner.stamps[3].recv_us, 200);
  EXPECT_EQ(planner.stamps[3].begin_us, 300);  // stage 1 has the first chunk until then
  EXPECT_EQ(planner.stamps[3].end_us, 500);
  EXPECT_EQ(planner.stamps[9].end_us, 1000);
}

TEST(ReplayPolicy, GoesOnWithoutThePlannersConsent) {
  Recorder planner;
  planner.say_no = true;
  const PromptPlan plan = ReplayPolicy(planner, {.stages = {{.token_us = 1}, {.token_us = 1}}}, 0, 600, 256);
  EXPECT_EQ(plan.chunks, (Chunks{256, 256, 88}));
  EXPECT_EQ(planner.num_asked, 5);  // refusals with a step in flight count until it is back
}

TEST(ReplayPolicy, StaticChunksTakeWhatIsPublished) {
  StaticChunkPlanner planner;
  const PromptPlan deepseek = ReplayPolicy(planner, MakeBalancedCost(kDeepSeek, 2), 0, 131072, 32768);
  EXPECT_EQ(deepseek.chunks, FixedChunks(131072, 32768));
  EXPECT_NEAR(deepseek.makespan_us / 1e6, 27.00, 0.01);
  EXPECT_NEAR(ReplayPolicy(planner, MakeBalancedCost(kQwen, 2), 0, 262144, 32768).makespan_us / 1e6, 61.40,
              0.01);
}

// vLLM-Ascend's recipe: five prompts of full length, then the measurement.
TEST(ReplayPolicy, EqualLatencyTakesWhatIsPublished) {
  struct Case {
    WholeModelCost whole;
    int num_stages;
    int32_t len;
    double seconds;
  };
  for (const Case& c :
       {Case{kDeepSeek, 2, 131072, 22.51}, Case{kDeepSeek, 4, 131072, 14.04},
        Case{kDeepSeek, 8, 131072, 9.84}, Case{kDeepSeek, 16, 131072, 7.83}, Case{kQwen, 2, 262144, 53.48}}) {
    const CostModel cost = MakeBalancedCost(c.whole, c.num_stages);
    EqualLatencyPlanner planner(Options(/*need_timing=*/true));
    for (int i = 0; i < 5; ++i) ReplayPolicy(planner, cost, 0, c.len, 32768);
    EXPECT_TRUE(planner.manager().calibration_done());
    const PromptPlan plan = ReplayPolicy(planner, cost, 0, c.len, 32768);
    EXPECT_NEAR(plan.makespan_us / 1e6, c.seconds, 0.02 * c.seconds) << c.num_stages;
    EXPECT_EQ(std::accumulate(plan.chunks.begin(), plan.chunks.end(), 0), c.len);
  }
}

TEST(ReplayPolicy, SglangTakesWhatIsPublished) {
  for (const auto& [num_stages, seconds] : {std::pair{2, 23.72}, {4, 15.78}, {8, 11.86}, {16, 9.99}}) {
    SglangPlanner planner(Options(false));
    const CostModel cost = MakeBalancedCost(kDeepSeek, num_stages);
    const PromptPlan plan = ReplayPolicy(planner, cost, 0, 131072, 32768);
    EXPECT_NEAR(plan.makespan_us / 1e6, seconds, 0.02 * seconds) << num_stages;
  }
}

}  // namespace
}  // namespace penstock
