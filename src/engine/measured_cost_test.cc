// An engine that measures its pipeline while it serves.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/engine_core.h"
#include "engine/test_support.h"
#include "sim/run_until_idle.h"

namespace penstock {
namespace {

const CostModel kTruth = {
    {{.step_us = 300, .token_us = 20, .pair_us = 0.01}, {.step_us = 300, .token_us = 30, .pair_us = 0.01}}};

// Chunks of one length; remembers when models came, in prompt tokens scheduled.
class WatchfulPlanner : public ChunkPlanner {
 public:
  explicit WatchfulPlanner(int32_t chunk_len) : chunk_len_(chunk_len) {}
  std::string_view name() const override { return "watchful"; }
  int32_t NextChunk(const ChunkQuery& query) override {
    const int32_t len = std::min(chunk_len_, query.max_len);
    num_chunks += 1;
    in_prompt = len < query.remaining;
    return len;
  }
  void SetCost(const CostModel& cost) override {
    costs.push_back(cost);
    num_in_prompt += in_prompt;
  }

  std::vector<CostModel> costs;
  int num_in_prompt = 0;  // models that came between the first and the last chunk of a prompt
  int num_chunks = 0;
  bool in_prompt = false;

 private:
  const int32_t chunk_len_;
};

EngineConfig MeasuringConfig() {
  EngineConfig config;
  config.vocab_size = 1000;
  config.scheduler.max_num_batched_tokens = 512;
  config.scheduler.max_num_seqs = 8;
  config.scheduler.block_size = 16;
  config.scheduler.num_blocks = 512;
  config.scheduler.max_model_len = 8000;
  config.scheduler.enable_prefix_caching = false;
  config.measure_cost = true;
  return config;
}

struct Rig {
  explicit Rig(EngineConfig config = MeasuringConfig(), int32_t chunk_len = 64, StepCost cost = nullptr)
      : planner(new WatchfulPlanner(chunk_len)),
        executor(MakeSim(std::move(cost)), clock),
        core(config, executor, texts, std::unique_ptr<ChunkPlanner>(planner)) {}

  static SimConfig MakeSim(StepCost cost) {
    SimConfig sim{.num_stages = 2, .num_blocks = 512, .block_size = 16};
    sim.cost = [](const Step& step, int stage) {
      return std::llround(kTruth.stages[stage].Predict(WorkOf(step)));
    };
    if (cost) sim.cost = std::move(cost);
    sim.track_contents = false;
    return sim;
  }
  // To its end.
  void Serve(int32_t prompt_len, int32_t max_tokens = 1) {
    core.Admit(
        MakeRequest(std::to_string(next_id++), std::vector<TokenId>(prompt_len), max_tokens),
        [](RequestOutput) {}, clock.now_us());
    RunUntilIdle(core, executor, clock, std::vector<TimedEvent>());
  }

  VirtualClock clock;
  WatchfulPlanner* planner;
  LetterTexts texts;
  SimExecutor executor;
  EngineCore core;
  int next_id = 0;
};

TEST(MeasuredCost, IsLearntFromWhatIsServed) {
  Rig rig;
  EXPECT_FALSE(rig.core.Stats().measured_cost.known());
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) rig.Serve(1 + static_cast<int32_t>(random() % 3000), 3);
  const EngineStats stats = rig.core.Stats();
  ASSERT_EQ(stats.measured_cost.num_stages(), 2);
  for (int stage = 0; stage < 2; ++stage) {
    for (int32_t pos : {0, 1000, 2500}) {
      const double expected = kTruth.stages[stage].PredictChunk(pos, 64);
      EXPECT_NEAR(stats.measured_cost.stages[stage].PredictChunk(pos, 64), expected, 0.05 * expected);
    }
  }
  EXPECT_GT(stats.cost_version, 0);
  EXPECT_GT(stats.cost_error.num_samples, 50);
  EXPECT_LT(stats.cost_error.median_error, 0.02);
  EXPECT_FALSE(rig.planner->costs.empty());
  EXPECT_TRUE(stats.cost.known());
}

TEST(MeasuredCost, NotWhereItIsNotWanted) {
  EngineConfig config = MeasuringConfig();
  config.measure_cost = false;
  Rig rig(config);
  for (int i = 0; i < 20; ++i) rig.Serve(100 + 50 * i);
  EXPECT_FALSE(rig.core.Stats().measured_cost.known());
  EXPECT_TRUE(rig.planner->costs.empty());
}

TEST(MeasuredCost, AKnownModelIsThereFromTheStart) {
  EngineConfig config = MeasuringConfig();
  config.cost_prior = kTruth;
  Rig rig(config);
  ASSERT_EQ(rig.planner->costs.size(), 1u);
  EXPECT_NEAR(rig.planner->costs[0].stages[1].PredictChunk(100, 64), kTruth.stages[1].PredictChunk(100, 64),
              1);

  config.cost_prior = {};
  config.cost_grid.resize(2);
  for (int stage = 0; stage < 2; ++stage) {
    for (int32_t len : {16, 64, 256, 512}) {
      for (int32_t pos : {0, 1024, 4096}) {
        const StepWork work = WorkOf(ChunkShape{.pos = pos, .len = len});
        config.cost_grid[stage].push_back({.work = work, .time_us = kTruth.stages[stage].Predict(work)});
      }
    }
  }
  Rig from_grid(config);
  ASSERT_EQ(from_grid.planner->costs.size(), 1u);
  const double expected = kTruth.stages[0].PredictChunk(2000, 128);
  EXPECT_NEAR(from_grid.planner->costs[0].stages[0].PredictChunk(2000, 128), expected, 0.02 * expected);
}

// Three times slower than was thought: the planner is told soon, but not in the middle of a prompt.
TEST(MeasuredCost, ANewModelWaitsForThePromptToEnd) {
  EngineConfig config = MeasuringConfig();
  config.cost_prior = kTruth;
  for (StageCost& stage : config.cost_prior.stages) {
    stage.token_us /= 3;
    stage.pair_us /= 3;
  }
  Rig rig(config);
  for (int i = 0; i < 12; ++i) rig.Serve(40 * 64);  // 40 steps each
  EXPECT_GT(rig.planner->costs.size(), 1u);
  EXPECT_EQ(rig.planner->num_in_prompt, 0);
  const double expected = kTruth.stages[1].PredictChunk(1000, 64);
  EXPECT_NEAR(rig.planner->costs.back().stages[1].PredictChunk(1000, 64), expected, 0.1 * expected);
}

TEST(MeasuredCost, ButNotForEver) {
  EngineConfig config = MeasuringConfig();
  config.cost_prior = kTruth;
  for (StageCost& stage : config.cost_prior.stages) stage.token_us /= 3;
  Rig rig(config, /*chunk_len=*/16);
  rig.Serve(7900);  // 494 steps
  EXPECT_GT(rig.planner->num_in_prompt, 0);
}

TEST(MeasuredCost, AbsurdTimesDoNotStopTheEngine) {
  std::mt19937 random(5);
  const StepCost absurd = [&random](const Step&, int) -> int64_t {
    const int64_t times[] = {0, 1, 7, 1'000'000'000'000};
    return times[random() % 4];
  };
  Rig rig(MeasuringConfig(), 64, absurd);
  for (int i = 0; i < 40; ++i) rig.Serve(1 + static_cast<int32_t>(random() % 1000), 2);
  EXPECT_TRUE(rig.core.idle());
  EXPECT_EQ(rig.core.Stats().finished.at("length"), 40u);
  for (const CostModel& cost : rig.planner->costs) {
    for (const StageCost& stage : cost.stages) EXPECT_TRUE(stage.IsSound());
  }
}

}  // namespace
}  // namespace penstock
