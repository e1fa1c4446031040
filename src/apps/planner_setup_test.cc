// SPDX-License-Identifier: Apache-2.0
#include "apps/planner_setup.h"

#include <gtest/gtest.h>

#include "apps/testing/small_plan.h"

namespace penstock {
namespace {

RunConfig WithChunkConfig(ProfilingChunkConfig config) {
  RunConfig run = SmallRun("m");
  config.enabled = true;
  run.profiling_chunk = config;
  return run;
}

TEST(PlannerOptions, WithoutTheSeedsConfiguration) {
  RunConfig run = SmallRun("m");
  run.max_step_us = 5000;
  const PlannerOptions options = MakePlannerOptions(run, SmallPlan(), ChunkPolicy::kOptimal);
  EXPECT_EQ(options.policy, ChunkPolicy::kOptimal);
  EXPECT_EQ(options.max_tokens, 1024);
  EXPECT_EQ(options.block_size, 64);
  EXPECT_EQ(options.max_model_len, 4096);
  EXPECT_EQ(options.max_step_us, 5000);
  EXPECT_FALSE(options.smooth_factor.has_value());
  EXPECT_FALSE(options.min_chunk.has_value());
  EXPECT_FALSE(options.release_behaviour);
}

TEST(PlannerOptions, OnlyWhatWasGivenBindsOtherPolicies) {
  const RunConfig by_default = WithChunkConfig({});
  EXPECT_FALSE(MakePlannerOptions(by_default, SmallPlan(), ChunkPolicy::kOptimal).min_chunk.has_value());
  const RunConfig given = WithChunkConfig(
      {.smooth_factor = 0.8, .min_chunk = 256, .smooth_factor_given = true, .min_chunk_given = true});
  for (ChunkPolicy policy : {ChunkPolicy::kOptimal, ChunkPolicy::kSglang, ChunkPolicy::kEqualLatency}) {
    const PlannerOptions options = MakePlannerOptions(given, SmallPlan(), policy);
    EXPECT_EQ(options.smooth_factor, 0.8);
    EXPECT_EQ(options.min_chunk, 256);
  }
}

TEST(PlannerOptions, VllmAscendsOwnPolicyHasItsDefaults) {
  const PlannerOptions options = MakePlannerOptions(
      WithChunkConfig({.need_timing = false, .max_fit_chunk = 50}), SmallPlan(), ChunkPolicy::kEqualLatency);
  EXPECT_EQ(options.smooth_factor, 1.0);
  EXPECT_EQ(options.min_chunk, 1024);  // 4096, lowered to a step
  EXPECT_FALSE(options.need_timing);
  EXPECT_EQ(options.max_fit_chunk, 50);
  RunConfig run = SmallRun("m");
  run.equal_latency_release = true;
  EXPECT_TRUE(MakePlannerOptions(run, SmallPlan(), ChunkPolicy::kEqualLatency).release_behaviour);
  EXPECT_EQ(MakePlannerOptions(run, SmallPlan(), ChunkPolicy::kEqualLatency).min_chunk, 1024);
}

TEST(PlannerOptions, NotEnabledIsNotThere) {
  RunConfig run = WithChunkConfig({.min_chunk = 256, .min_chunk_given = true});
  run.profiling_chunk->enabled = false;
  EXPECT_FALSE(MakePlannerOptions(run, SmallPlan(), ChunkPolicy::kOptimal).min_chunk.has_value());
}

TEST(ConstraintsLine, SaysWhatTheSeedsMinChunkCosts) {
  const CostModel cost =
      MakeBalancedCost({.alpha = 1.127e-4, .beta = 2.866e-9, .gamma = 0, .floor = 0.052, .d0 = 0.002}, 4);
  PlannerOptions options;
  options.max_tokens = 32768;
  options.block_size = 128;
  options.max_model_len = 131072;
  EXPECT_EQ(ConstraintsLine(options, cost, 131072), "");
  options.min_chunk = 16384;
  const std::string line = ConstraintsLine(options, cost, 131072);
  EXPECT_TRUE(
      line.starts_with("profiling_chunk_config (min_chunk 16384): predicted time to first token for "
                       "131072 tokens "))
      << line;
  EXPECT_NE(line.find("(+"), std::string::npos) << line;
  options.smooth_factor = 0.5;
  EXPECT_NE(ConstraintsLine(options, cost, 131072).find("(smooth_factor 0.5, min_chunk 16384)"),
            std::string::npos);
  options.policy = ChunkPolicy::kEqualLatency;  // they are its own
  EXPECT_EQ(ConstraintsLine(options, cost, 131072), "");
}

TEST(NeedsCost, WhereThereIsSomethingToPlan) {
  RunConfig run = SmallRun("m");
  EXPECT_TRUE(NeedsCost(run));
  run.chunk_policies = {ChunkPolicy::kStatic};
  EXPECT_FALSE(NeedsCost(run));
  run.chunk_policies = {ChunkPolicy::kStatic, ChunkPolicy::kSglang};
  EXPECT_TRUE(NeedsCost(run));
  run.layout.pp = 1;
  EXPECT_FALSE(NeedsCost(run));
  run.max_step_us = 1;
  EXPECT_TRUE(NeedsCost(run));
}

}  // namespace
}  // namespace penstock
