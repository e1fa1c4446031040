// Expected values: vLLM-Ascend's own predictor and its scheduler's rule, run on the same numbers.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/equal_latency.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <random>

#include "plan/policy_replay.h"

namespace penstock {
namespace {

using Chunks = std::vector<int32_t>;

// A stage on which a prompt of l tokens takes a l² + b l + c milliseconds, twice.
CostModel QuadraticCost(double a, double b, double c) {
  const StageCost stage{.step_us = c * 1000, .token_us = b * 1000, .pair_us = 2 * a * 1000};
  return {.stages = {stage, stage}};
}

PlannerOptions Options(int32_t max_tokens, double smooth_factor, int32_t min_chunk, bool need_timing) {
  return {.policy = ChunkPolicy::kEqualLatency,
          .max_tokens = max_tokens,
          .block_size = 128,
          .max_model_len = 1 << 20,
          .smooth_factor = smooth_factor,
          .min_chunk = min_chunk,
          .need_timing = need_timing};
}

class Rig {
 public:
  explicit Rig(const PlannerOptions& options) : planner(options) {
    planner.SetCost(QuadraticCost(1e-6, 0.01, 1));
  }

  void Begin(std::vector<PrefillDemand> new_demands) {
    demands = std::move(new_demands);
    step.clear();
    planner.BeginStep({.prefills = demands, .max_tokens = 8192});
  }
  // The chunk of a demand; it enters the step.
  int32_t Next(SeqId seq, int32_t pos, int32_t remaining, int32_t max_len) {
    const int32_t len = planner.NextChunk(
        {.seq = seq, .pos = pos, .remaining = remaining, .max_len = max_len, .step_chunks = step});
    if (len > 0) step.push_back({.pos = pos, .len = len});
    return len;
  }
  void Run(int32_t len, int32_t pos, int64_t time_us) {
    const ChunkShape chunk{.pos = pos, .len = len};
    // Stage 0 takes a time of its own: it must not count.
    const std::vector<StageStamp> stamps = {
        {.stage = 0, .begin_us = 0, .end_us = 17},
        {.stage = 1, .recv_us = 17, .begin_us = 100, .end_us = 100 + time_us}};
    planner.OnStep({.chunks = {&chunk, 1}, .stamps = stamps});
  }

  EqualLatencyPlanner planner;
  std::vector<PrefillDemand> demands;
  std::vector<ChunkShape> step;
};

// Times exactly on 1e-7 C (C + H) + 0.01 (C + H) + 1 ms: a target of 83.6 ms or so, reached by the history
// alone at 8k.
void Calibrate(Rig* rig) {
  const auto time_us = [](int64_t c, int64_t h) { return (c * (c + h) + 100'000 * (c + h)) / 10'000 + 1000; };
  for (int i = 0; i < 32; ++i) {
    const int32_t len = i < 3 ? 8192 : 8192 - 128 * i, pos = i < 3 ? 0 : 256 * i;
    rig->Run(len, pos, time_us(len, pos));
  }
}

TEST(EqualLatency, CutsWholePromptsAsItsSourceDoes) {
  struct Case {
    double a, b, c, smooth;
    Chunks chunks;
  };
  const Case cases[] = {
      {1e-6,
       0.01,
       1,
       1.0,
       {32768, 15488, 11904, 10112, 8832, 8064, 7424, 6912, 6400, 6144, 5760, 5504, 5376, 384}},
      {1e-6, 0.01, 1, 0.8, {32768, 18944, 15616, 13952, 12800, 12032, 11520, 11136, 2304}},
      {2e-6, 0.05, 5, 1.0, {32768, 17536, 13696, 11520, 10240, 9216, 8576, 7936, 7424, 7040, 5120}},
      {2e-6, 0.05, 5, 0.8, {32768, 20608, 17024, 15232, 13952, 13184, 12544, 5760}},
      {1e-7, 0.02, 3, 1.0, {32768, 26240, 22528, 19968, 18176, 11392}},
  };
  for (const Case& c : cases) {
    EqualLatencyPlanner planner(Options(32768, c.smooth, 4096, /*need_timing=*/false));
    const PromptPlan plan = ReplayPolicy(planner, QuadraticCost(c.a, c.b, c.c), 0, 131072, 32768);
    EXPECT_EQ(plan.chunks, c.chunks);
    const double target_ms = c.a * 32768 * 32768 + c.b * 32768;
    EXPECT_NEAR(*planner.manager().predictor().target_ms(), target_ms, 1e-8);
    EXPECT_FALSE(planner.manager().history_ready());
  }
}

TEST(EqualLatency, IsStaticBeforeThereIsACost) {
  EqualLatencyPlanner planner(Options(8192, 1, 64, false));
  EXPECT_EQ(planner.NextChunk({.pos = 65536, .remaining = 9000, .max_len = 8192}), 8192);
}

TEST(EqualLatency, ProfilesTheLastStageAndOnlyOnce) {
  CostModel cost = QuadraticCost(1e-6, 0.01, 1);
  cost.stages[0] = {.step_us = 5, .token_us = 1};
  EqualLatencyPlanner planner(Options(8192, 1, 64, false));
  planner.SetCost({});
  EXPECT_FALSE(planner.manager().is_ready());
  planner.SetCost(cost);
  EXPECT_NEAR(*planner.manager().predictor().target_ms(), 149.028864, 1e-9);
  planner.SetCost(QuadraticCost(2e-6, 0.05, 5));
  EXPECT_NEAR(*planner.manager().predictor().target_ms(), 149.028864, 1e-9);
}

TEST(EqualLatency, SharesTheStepsTimeBetweenPrompts) {
  Rig rig(Options(8192, 1, 64, false));
  rig.Begin({{.seq = 1, .pos = 4096, .remaining = 2000, .is_running = true},
             {.seq = 2, .pos = 0, .remaining = 10000}});
  EXPECT_EQ(rig.Next(1, 4096, 2000, 2000), 2000);
  EXPECT_EQ(rig.Next(2, 0, 10000, 6192), 6192);  // 6656 but for the tokens left
  EXPECT_EQ(rig.Next(3, 0, 64, 64), 64);         // 8.4 ms are left
  // The budget is the step's: the next one has all of it.
  rig.Begin({{.seq = 2, .pos = 6192, .remaining = 3808, .is_running = true}});
  EXPECT_EQ(rig.Next(2, 6192, 8000, 8000), 5376);
}

TEST(EqualLatency, NothingMoreEntersAStepWhoseTimeIsSpent) {
  Rig rig(Options(8192, 1, 64, false));
  rig.Begin({{.seq = 1, .pos = 16384, .remaining = 9000, .is_running = true},
             {.seq = 2, .pos = 0, .remaining = 100}});
  EXPECT_EQ(rig.Next(1, 16384, 9000, 8192), 3328);  // rounded up: a little more than the budget
  EXPECT_EQ(rig.Next(2, 0, 100, 100), 0);
}

TEST(EqualLatency, DecodeTokensCostNothing) {
  Rig rig(Options(8192, 1, 64, false));
  rig.Begin({{.seq = 1, .pos = 4096, .remaining = 9000, .is_running = true}});
  rig.step.assign(100, {.pos = 100'000, .len = 1, .is_decode = true});
  EXPECT_EQ(rig.Next(1, 4096, 9000, 8092), 6144);
}

TEST(EqualLatency, APrefixHitIsSizedAndCharged) {
  Rig rig(Options(8192, 1, 64, false));
  rig.Begin({{.seq = 1, .pos = 32768, .remaining = 9000}, {.seq = 2, .pos = 0, .remaining = 4000}});
  EXPECT_EQ(rig.Next(1, 32768, 9000, 8192), 2048);
  EXPECT_EQ(rig.Next(2, 0, 4000, 4000), 0);  // 158.6 ms of 149.0
}

TEST(EqualLatency, CalibratingLeavesFirstChunksWhole) {
  Rig rig(Options(8192, 1, 64, true));
  rig.Begin({{.seq = 1, .pos = 4096, .remaining = 9000, .is_running = true}});
  EXPECT_EQ(rig.Next(1, 4096, 9000, 8192), 6144);
  rig.Begin({{.seq = 2, .pos = 4096, .remaining = 9000}});
  EXPECT_EQ(rig.Next(2, 4096, 9000, 8192), 8192);
  Calibrate(&rig);
  ASSERT_TRUE(rig.planner.manager().calibration_done());
  rig.Begin({{.seq = 2, .pos = 4096, .remaining = 9000}});
  EXPECT_LT(rig.Next(2, 4096, 9000, 8192), 8192);
}

TEST(EqualLatency, TakesTheLastStagesTime) {
  Rig rig(Options(8192, 1, 64, true));
  rig.Run(8192, 0, 123'456);
  EXPECT_EQ(rig.planner.manager().predictor().target_ms(), 123.456);
  Rig untimed(Options(8192, 1, 64, false));
  untimed.Run(8192, 0, 123'456);
  EXPECT_NEAR(*untimed.planner.manager().predictor().target_ms(), 149.028864, 1e-9);
}

TEST(EqualLatency, BeyondTheTargetItCutsTheSmallestChunk) {
  Rig rig(Options(8192, 1, 300, true));
  Calibrate(&rig);
  ASSERT_TRUE(rig.planner.manager().predictor().IsBeyondTarget(20'000));
  rig.Begin({{.seq = 1, .pos = 20'000, .remaining = 9000, .is_running = true}});
  EXPECT_EQ(rig.Next(1, 20'000, 9000, 8192), 384);
  EXPECT_EQ(rig.Next(2, 20'000, 9000, 7808), 0);  // its time is far beyond what the step has

  // While calibrating too.
  Rig early(Options(8192, 1, 300, true));
  for (int i = 0; i < 8; ++i) early.Run(8192 - 512 * i, i == 0 ? 0 : 512 * i * i, 90'000 + 4000 * i * i);
  ASSERT_TRUE(early.planner.manager().history_ready());
  ASSERT_TRUE(early.planner.manager().predictor().IsBeyondTarget(100'000));
  early.Begin({{.seq = 1, .pos = 100'000, .remaining = 9000, .is_running = true}});
  EXPECT_EQ(early.Next(1, 100'000, 9000, 8192), 384);
}

// A step that has something, and no time for what this prompt's history alone takes: out of the loop, like
// the source. The others' loop goes on.
TEST(EqualLatency, LeavesAPromptForALaterStep) {
  Rig rig(Options(8192, 1, 64, true));
  Calibrate(&rig);
  rig.Begin({{.seq = 1, .pos = 1000, .remaining = 1000, .is_running = true},
             {.seq = 2, .pos = 6000, .remaining = 9000, .is_running = true},
             {.seq = 3, .pos = 0, .remaining = 1000}});
  EXPECT_EQ(rig.Next(1, 1000, 3000, 3000), 3000);
  EXPECT_EQ(rig.Next(2, 6000, 9000, 5192), 0);
  EXPECT_EQ(rig.Next(4, 0, 1000, 1000), 1000);  // waits
  rig.Begin({{.seq = 1, .pos = 1000, .remaining = 1000, .is_running = true},
             {.seq = 2, .pos = 6000, .remaining = 9000, .is_running = true},
             {.seq = 3, .pos = 1, .remaining = 1000, .is_running = true}});
  EXPECT_EQ(rig.Next(1, 1000, 3000, 3000), 3000);
  EXPECT_EQ(rig.Next(2, 6000, 9000, 5192), 0);
  EXPECT_EQ(rig.Next(3, 1, 1000, 1000), 0);  // runs: comes after one that was left out
}

TEST(EqualLatency, ConstantTimesFallBackToTheLongestChunk) {
  EqualLatencyPlanner planner(Options(8192, 0.8, 256, false));
  planner.SetCost({.stages = {{.step_us = 10'000}}});
  ASSERT_TRUE(planner.manager().is_ready());
  EXPECT_EQ(planner.manager().predictor().target_ms(), 1.0);
  EXPECT_EQ(planner.NextChunk({.pos = 4096, .remaining = 9000, .max_len = 8000}), 8000);
}

TEST(EqualLatency, MinChunkIsAtMostAStep) {
  PlannerOptions options = Options(1024, 1, 4096, false);
  options.min_chunk.reset();
  EXPECT_EQ(EqualLatencyPlanner(options).manager().predictor().options().min_chunk, 1024);
  EXPECT_EQ(EqualLatencyPlanner(options).manager().predictor().options().smooth_factor, 1.0);
}

TEST(EqualLatency, TheReleaseTakesOneChunkPerStepAndNeverSizesAFirst) {
  PlannerOptions options = Options(8192, 1, 64, false);
  options.release_behaviour = true;
  Rig rig(options);
  rig.Begin({{.seq = 1, .pos = 4096, .remaining = 100, .is_running = true},
             {.seq = 2, .pos = 32768, .remaining = 9000}});
  EXPECT_EQ(rig.Next(1, 4096, 100, 100), 100);
  EXPECT_EQ(rig.Next(2, 32768, 9000, 8092), 0);
  rig.Begin({{.seq = 2, .pos = 32768, .remaining = 9000}});
  EXPECT_EQ(rig.Next(2, 32768, 9000, 8192), 8192);
  rig.Begin({{.seq = 1, .pos = 4096, .remaining = 9000, .is_running = true}});
  EXPECT_EQ(rig.Next(1, 4096, 9000, 8192), 6144);  // the target, not the 0.01 ms
}

TEST(EqualLatency, TheReleaseCutsTheLongestChunkBeyondTheTarget) {
  PlannerOptions options = Options(8192, 1, 300, true);
  options.release_behaviour = true;
  Rig rig(options);
  Calibrate(&rig);
  ASSERT_TRUE(rig.planner.manager().predictor().IsBeyondTarget(20'000));
  rig.Begin({{.seq = 1, .pos = 20'000, .remaining = 9000, .is_running = true}});
  EXPECT_EQ(rig.Next(1, 20'000, 9000, 8192), 8192);
}

// Whatever is measured, chunks stay within their bounds.
TEST(EqualLatency, SurvivesAnyTimings) {
  std::mt19937_64 random(7);
  const int64_t times[] = {0, -5, 1, 1000, std::numeric_limits<int64_t>::max() - 1000, 1'000'000'000'000};
  for (int round = 0; round < 200; ++round) {
    PlannerOptions options = Options(2048, 0.5, 64, true);
    options.release_behaviour = round % 2 == 0;
    Rig rig(options);
    for (int i = 0; i < 40; ++i) {
      const auto pos = static_cast<int32_t>(random() % 100'000);
      rig.Run(1 + static_cast<int32_t>(random() % 2048), random() % 3 == 0 ? 0 : pos,
              random() % 2 == 0 ? times[random() % 6] : static_cast<int64_t>(random() % 100'000));
      rig.Begin({{.seq = 1, .pos = pos, .remaining = 5000, .is_running = random() % 2 == 0}});
      for (SeqId seq = 1; seq < 3; ++seq) {
        const int32_t len = rig.Next(seq, pos, 5000, 1000);
        ASSERT_GE(len, 0);
        ASSERT_LE(len, 1000);
      }
    }
  }
}

}  // namespace
}  // namespace penstock
