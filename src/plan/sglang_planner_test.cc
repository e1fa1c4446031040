// Expected values: SGLang's formulas, evaluated in Python on the same numbers.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/sglang_planner.h"

#include <gtest/gtest.h>

#include "plan/policy_replay.h"

namespace penstock {
namespace {

using Chunks = std::vector<int32_t>;

PlannerOptions Options(int32_t max_tokens, int32_t max_model_len = 200'000) {
  return {.policy = ChunkPolicy::kSglang,
          .max_tokens = max_tokens,
          .block_size = 128,
          .max_model_len = max_model_len};
}

// Stage 0 takes 1e-6 l² + 0.01 l + 1 milliseconds for a prompt of l tokens; stage 1 does not count.
CostModel Cost() {
  const StageCost first{.step_us = 1000, .token_us = 10, .pair_us = 2e-3};
  return {.stages = {first, {.step_us = 1, .token_us = 100}}};
}

Chunks Table(const PlannerOptions& options) {
  SglangPlanner planner(options);
  planner.SetCost(Cost());
  Chunks chunks;
  for (int32_t pos : {1, 4096, 8192, 16384, 32768, 65536, 131072}) {
    chunks.push_back(planner.PredictChunkSize(pos).value_or(-1));
  }
  return chunks;
}

TEST(SglangPlanner, PredictsItsSourcesChunks) {
  EXPECT_EQ(Table(Options(8192)), (Chunks{8064, 6528, 5632, 4352, 3456, 2816, 2432}));
  PlannerOptions sharp = Options(8192), small_page = Options(8192), floored = Options(8192);
  sharp.smooth_factor = 1.0;
  EXPECT_EQ(Table(sharp), (Chunks{8064, 6016, 4736, 3200, 2048, 2048, 2048}));
  small_page.block_size = 16;
  EXPECT_EQ(Table(small_page), (Chunks{8128, 6592, 5632, 4416, 3456, 2816, 2432}));
  floored.min_chunk = 4096;
  EXPECT_EQ(Table(floored), (Chunks{8064, 6528, 5632, 4352, 4096, 4096, 4096}));
}

TEST(SglangPlanner, KeepsAMarginToTheContextsEnd) {
  EXPECT_EQ(Table(Options(8192, 132'000)).back(), 768);
  EXPECT_EQ(Table(Options(8192, 131'200)).back(), -1);  // 28 are no page: the fixed size
}

TEST(SglangPlanner, CutsWholePrompts) {
  const auto cut = [](const PlannerOptions& options) {
    SglangPlanner planner(options);
    return ReplayPolicy(planner, Cost(), 0, 131072, 32768).chunks;
  };
  EXPECT_EQ(cut(Options(32768)), (Chunks{32768, 19712, 16512, 14848, 13824, 13056, 12544, 7808}));
  EXPECT_EQ(cut(Options(32768, 131'072)),
            (Chunks{32768, 19712, 16512, 14848, 13824, 13056, 12544, 7680, 128}));
}

TEST(SglangPlanner, ProfilesItsSourcesLengths) {
  const Chunks lens = SglangPlanner::ProfileLengths(8192);
  EXPECT_EQ(lens.size(), 128u);
  EXPECT_EQ(lens[0], 10240);
  EXPECT_EQ(lens[1], 10160);
  EXPECT_EQ(lens[127], 80);
  EXPECT_EQ(SglangPlanner::ProfileLengths(1000)[1], 1241);
}

TEST(SglangPlanner, WithoutASquareTermChunksStayFixed) {
  SglangPlanner planner(Options(8192));
  planner.SetCost({.stages = {{.step_us = 10'000}}});
  EXPECT_FALSE(planner.is_ready());
  EXPECT_EQ(planner.PredictChunkSize(65536), std::nullopt);
  EXPECT_EQ(planner.NextChunk({.pos = 65536, .remaining = 9000, .max_len = 8000}), 8000);
  planner.SetCost(Cost());  // it profiles once
  EXPECT_FALSE(planner.is_ready());
}

TEST(SglangPlanner, TheSizeIsTheStepsBudget) {
  SglangPlanner planner(Options(8192));
  planner.SetCost(Cost());
  const std::vector<PrefillDemand> demands = {{.seq = 1, .pos = 16384, .remaining = 2000, .is_running = true},
                                              {.seq = 2, .remaining = 9000}};
  planner.BeginStep({.prefills = demands, .max_tokens = 8192});
  EXPECT_EQ(planner.NextChunk({.seq = 1, .pos = 16384, .remaining = 2000, .max_len = 2000}), 2000);
  std::vector<ChunkShape> step = {{.pos = 9, .len = 1, .is_decode = true}, {.pos = 16384, .len = 2000}};
  // 4352 - 2000, down to a page.
  EXPECT_EQ(planner.NextChunk({.seq = 2, .remaining = 9000, .max_len = 6191, .step_chunks = step}), 2304);
  step.push_back({.len = 2304});
  EXPECT_EQ(planner.NextChunk({.seq = 3, .remaining = 9000, .max_len = 3887, .step_chunks = step}), 0);

  // Nothing is continued: the whole base.
  planner.BeginStep({.prefills = {demands.data() + 1, 1}, .max_tokens = 8192});
  EXPECT_EQ(planner.NextChunk({.seq = 2, .remaining = 9000, .max_len = 8192}), 8192);
}

}  // namespace
}  // namespace penstock
