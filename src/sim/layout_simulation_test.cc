// SPDX-License-Identifier: Apache-2.0
#include "sim/layout_simulation.h"

#include <gtest/gtest.h>

#include "sim/backlog_router.h"

namespace penstock {
namespace {

LayoutReport Simulated(const ParallelLayout& layout, const Traffic& traffic, ClusterSpec cluster = {}) {
  SimulationConfig config;
  config.block_size = 16;
  return *SimulateLayout(*FindModelPreset("deepseek-v3.1"), cluster, layout, config,
                         {.policy = ChunkPolicy::kStatic}, traffic);
}

Traffic Hits(int num_requests) {
  Traffic traffic = {.requests = {}, .num_clients = 4, .client_us = 10'000, .client_token_us = 1};
  for (int i = 0; i < num_requests; ++i) {
    const int32_t len = 4096 + 7919 * i % 60000;
    traffic.requests.push_back({.prompt_len = len, .cached_len = len - len / 100});
  }
  return traffic;
}

TEST(LayoutSimulation, OneChunkTakesWhatItsStagesAndTheTransferTake) {
  const ParallelLayout layout = {.pp = 2, .tp = 8, .expert_parallel = true};
  const LayoutReport report = Simulated(layout, {.requests = {{.prompt_len = 5000}}});
  const LayoutCost cost(*FindModelPreset("deepseek-v3.1"), {}, layout);
  const StepWork work = WorkOf(ChunkShape{.pos = 0, .len = 5000});
  const double us = cost.Time(work, 0).total_us() + cost.TransferUs(5000) + cost.Time(work, 1).total_us();
  EXPECT_NEAR(report.ttft_mean_s(), us / 1e6, 3e-6);
  EXPECT_NEAR(report.shares.idle, 0.5, 0.02);
  EXPECT_NEAR(report.input_tokens_per_s_per_device(), 5000 / (us / 1e6) / 16, 0.1);
  EXPECT_TRUE(report.fits);
  EXPECT_FALSE(Simulated({.tp = 8}, {.requests = {{.prompt_len = 5000}}}).fits);
}

TEST(LayoutSimulation, ReplicasShareTheRequests) {
  const Traffic traffic = Hits(60);
  ClusterSpec apart;
  apart.lock_step = 0;
  const LayoutReport one = Simulated({.tp = 8, .expert_parallel = true}, traffic, apart);
  const LayoutReport two = Simulated({.dp = 2, .tp = 8, .expert_parallel = true}, traffic, apart);
  ASSERT_EQ(two.simulation.other_traces.size(), 1u);
  const auto first = static_cast<double>(two.simulation.trace.steps().size());
  EXPECT_GT(first, 0.35 * static_cast<double>(two.simulation.num_steps()));
  EXPECT_LT(first, 0.65 * static_cast<double>(two.simulation.num_steps()));
  EXPECT_GT(two.input_tokens_per_s(), 1.1 * one.input_tokens_per_s());
  EXPECT_LT(two.shares.lock_step, 1e-6);  // rounding
  for (const SimulatedRequest& request : two.simulation.requests) EXPECT_GT(request.cached_len, 0);
}

TEST(LayoutSimulation, LockStepBeginsAndEndsTogether) {
  const LayoutReport report = Simulated({.dp = 2, .tp = 8, .expert_parallel = true}, Hits(60));
  std::vector<StageStamp> stamps;
  for (const StepRecord& step : report.simulation.trace.steps()) stamps.push_back(step.stamps.at(0));
  int num_together = 0;
  for (const StepRecord& step : report.simulation.other_traces.at(0).steps()) {
    for (const StageStamp& other : stamps) {
      const StageStamp& stamp = step.stamps.at(0);
      if (other.end_us <= stamp.begin_us || stamp.end_us <= other.begin_us) continue;
      EXPECT_EQ(stamp.begin_us, other.begin_us);
      EXPECT_EQ(stamp.end_us, other.end_us);
      ++num_together;
    }
  }
  EXPECT_GT(num_together, 10);
  EXPECT_GT(report.shares.lock_step, 0);
}

TEST(LayoutSimulation, RefusesWhatTheEngineCannot) {
  ClusterSpec seed = *ParseClusterSpec("a3-vllm-ascend");
  const ModelShape model = *FindModelPreset("deepseek-v3.1");
  const auto status = [&](const ParallelLayout& layout) {
    return SimulateLayout(model, seed, layout, {}, {}, Hits(1)).status().code();
  };
  EXPECT_EQ(status({.pp = 2, .pcp = 2, .tp = 4}), StatusCode::kInvalidArgument);
  EXPECT_EQ(status({.pp = 62}), StatusCode::kInvalidArgument);
}

TEST(BacklogRouter, GoesWhereTheLeastIsLeft) {
  BacklogRouter router(MakeBalancedCost({.alpha = 1e-4}, 1), 2);
  EXPECT_EQ(router.Route(0, {.prompt_len = 10'000}), 0u);
  EXPECT_EQ(router.Route(1, {.prompt_len = 4'000}), 1u);
  EXPECT_EQ(router.Route(2, {.prompt_len = 4'000}), 1u);  // 8,000 against 10,000
  EXPECT_EQ(router.Route(3, {.prompt_len = 8'000, .cached_len = 7'000}), 1u);
  EXPECT_EQ(router.Route(4, {.prompt_len = 4'000}), 1u);
  EXPECT_EQ(router.Route(5, {.prompt_len = 4'000}), 0u);
  router.OnEnd(0);
  EXPECT_EQ(router.Route(6, {.prompt_len = 1}), 0u);
}

}  // namespace
}  // namespace penstock
