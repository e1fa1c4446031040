// SPDX-License-Identifier: Apache-2.0
#include "plan/make_chunk_planner.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock {
namespace {

using Policies = std::vector<ChunkPolicy>;

PlannerOptions SomeOptions() {
  PlannerOptions options;
  options.max_model_len = 131072;
  return options;
}

TEST(ChunkPolicies, HaveNames) {
  for (ChunkPolicy policy : kAllChunkPolicies) {
    EXPECT_EQ(*ParseChunkPolicy(ChunkPolicyName(policy)), policy);
    PlannerOptions options = SomeOptions();
    options.policy = policy;
    EXPECT_EQ(MakeChunkPlanner(options)->name(), ChunkPolicyName(policy));
  }
}

TEST(ChunkPolicies, AreParsedFromLists) {
  EXPECT_EQ(*ParseChunkPolicies("all"), Policies(std::begin(kAllChunkPolicies), std::end(kAllChunkPolicies)));
  EXPECT_EQ(*ParseChunkPolicies("optimal"), Policies{ChunkPolicy::kOptimal});
  EXPECT_EQ(*ParseChunkPolicies("sglang, static,sglang"),
            (Policies{ChunkPolicy::kSglang, ChunkPolicy::kStatic}));
}

TEST(ChunkPolicies, ErrorsNameWhatThereIs) {
  EXPECT_EQ(ParseChunkPolicy("dynamic").status().message(),
            "chunk policy \"dynamic\": expected one of static, equal-latency, sglang, optimal");
  for (const char* bad : {"", "static,", ",static", "static,,sglang", "all,static", "Static"}) {
    EXPECT_EQ(ParseChunkPolicies(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(PlannerOptions, AreValidated) {
  EXPECT_TRUE(ValidatePlannerOptions(SomeOptions()).ok());
  const auto message = [](auto change) {
    PlannerOptions options = SomeOptions();
    change(&options);
    return ValidatePlannerOptions(options).message();
  };
  EXPECT_EQ(message([](PlannerOptions* o) { o->max_tokens = 0; }),
            "chunk planner: max_tokens is 0, expected in [1, 16777216]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->block_size = -1; }),
            "chunk planner: block_size is -1, expected in [1, 16777216]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->tile = 0; }),
            "chunk planner: tile is 0, expected in [1, 16777216]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->max_model_len = 0; }),
            "chunk planner: max_model_len is 0, expected in [1, 1073741824]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->max_step_us = std::nan(""); }),
            "chunk planner: max_step_us is nan, expected >= 0");
  EXPECT_EQ(message([](PlannerOptions* o) { o->fixed_target_us = -1; }),
            "chunk planner: fixed_target_us is -1, expected >= 0");
  EXPECT_EQ(message([](PlannerOptions* o) { o->smooth_factor = 0.0; }),
            "chunk planner: smooth_factor is 0, expected in (0, 1]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->smooth_factor = 1.5; }),
            "chunk planner: smooth_factor is 1.5, expected in (0, 1]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->min_chunk = 4096; }),
            "chunk planner: min_chunk is 4096, expected in [1, 2048]");
  EXPECT_EQ(message([](PlannerOptions* o) { o->max_fit_chunk = 5; }),
            "chunk planner: max_fit_chunk is 5, expected > 5");
}

}  // namespace
}  // namespace penstock
