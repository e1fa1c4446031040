// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "apps/engine_factory.h"
#include "apps/testing/small_plan.h"
#include "engine/test_support.h"
#include "sim/realtime_sim_executor.h"

namespace penstock {
namespace {

size_t CommonPrefix(const Request& a, const Request& b) {
  const auto end = std::ranges::mismatch(a.prompt_ids, b.prompt_ids).in1;
  return static_cast<size_t>(end - a.prompt_ids.begin());
}

TEST(MakeWorkloadTest, PromptsShareWholeBlocks) {
  const BenchWorkload workload{.input_len = 1000, .num_requests = 3, .prefix_hit = 0.5};
  const auto requests = MakeWorkload(workload, 1000, 64, 1);
  ASSERT_EQ(requests.size(), 3u);
  for (const Request& request : requests) EXPECT_EQ(request.prompt_ids.size(), 1000u);
  EXPECT_GE(CommonPrefix(requests[0], requests[2]), 448u);
  EXPECT_LT(CommonPrefix(requests[0], requests[2]), 512u);
  BenchWorkload whole = workload;
  whole.prefix_hit = 1;
  EXPECT_LT(CommonPrefix(MakeWorkload(whole, 1000, 64, 1)[0], MakeWorkload(whole, 1000, 64, 1)[1]), 1000u);
}

TEST(RunWorkloadTest, ClientsWaitForTheirAnswersAndHitTheCache) {
  int max_seqs = 0, num_tokens = 0;
  SimConfig sim{.num_stages = 2, .num_blocks = 128, .block_size = 64};
  sim.cost = [](const Step&, int) { return int64_t{300}; };
  sim.fault = [&](const Step& step) {
    max_seqs = std::max(max_seqs, static_cast<int>(step.chunks.size()));
    num_tokens += step.num_tokens();
    return SimFault{};
  };
  LoadedModel model;
  model.plan = SmallPlan();
  model.texts = std::make_unique<LetterTexts>();
  model.pipeline = std::make_unique<RealtimeSimExecutor>(std::move(sim));
  RunConfig run = SmallRun("m");
  run.enable_prefix_caching = true;
  const auto engine = MakeEngineOver(run, model, *model.pipeline, ChunkPolicy::kStatic, {}).value();
  const BenchWorkload workload{.input_len = 256, .num_requests = 6, .concurrency = 2, .prefix_hit = 0.75};
  const auto sample = RunWorkload(*engine, MakeWorkload(workload, 1000, 64, 1), 2, /*fill_cache=*/true);
  ASSERT_TRUE(sample.ok()) << sample.status().message();
  EXPECT_EQ(sample->ttfts_s.size(), 6u);
  EXPECT_LE(max_seqs, 2);
  EXPECT_EQ(num_tokens, 256 + 6 * 64);
  EXPECT_GT(sample->seconds, *std::ranges::max_element(sample->ttfts_s));
}

}  // namespace
}  // namespace penstock
