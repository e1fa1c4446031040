// SPDX-License-Identifier: Apache-2.0
#include "apps/memory_plan.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// Two ranks: 300 MiB of weights, 100 of activations, 3 MiB for each block of both.
MemoryRequest SmallRequest() {
  MemoryRequest request;
  request.ranks = {{100 * kMiB, 40 * kMiB, 1 * kMiB}, {200 * kMiB, 60 * kMiB, 2 * kMiB}};
  request.free_bytes = 1000 * kMiB;
  request.utilization = 0.7;  // 700 MiB: 300 for 100 blocks
  request.block_size = 16;
  request.max_num_seqs = 4;
  request.max_model_len = 160;  // 10 blocks
  return request;
}

TEST(MemoryPlan, TakesWhatTheSequencesNeed) {
  const MemoryPlan plan = *PlanMemory(SmallRequest());
  EXPECT_EQ(plan.num_blocks, 40);
  EXPECT_EQ(plan.weight_bytes, 300 * kMiB);
  EXPECT_EQ(plan.activation_bytes, 100 * kMiB);
  EXPECT_EQ(plan.kv_bytes, 120 * kMiB);
  EXPECT_EQ(plan.total_bytes(), 520 * kMiB);
  EXPECT_DOUBLE_EQ(MaxConcurrency(plan, 16), 4.0);
}

TEST(MemoryPlan, CutsToTheBudget) {
  MemoryRequest request = SmallRequest();
  request.max_num_seqs = 64;
  const MemoryPlan plan = *PlanMemory(request);
  EXPECT_EQ(plan.num_blocks, 100);
  EXPECT_LE(plan.total_bytes(), plan.budget_bytes);
  EXPECT_DOUBLE_EQ(MaxConcurrency(plan, 16), 10.0);
}

TEST(MemoryPlan, RefusesARequestThatNeverFits) {
  MemoryRequest request = SmallRequest();
  request.max_model_len = 1601;
  const auto plan = PlanMemory(request);
  ASSERT_EQ(plan.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(plan.status().message(),
            "out of memory: the KV cache of one request of 1,601 tokens (--max-model-len) is 303.0 MiB, "
            "there is room "
            "for 1,600 tokens; weights 300.0 MiB + activations 100.0 MiB; 700.0 MiB may be used (0.70 of "
            "1000.0 MiB "
            "free); lower --max-model-len (auto takes what fits), or raise --gpu-memory-utilization");
  request.max_model_len = 1600;
  EXPECT_TRUE(PlanMemory(request).ok());
}

TEST(MemoryPlan, AutoLowersTheLength) {
  MemoryRequest request = SmallRequest();
  request.max_model_len = 100000;
  request.auto_max_model_len = true;
  EXPECT_EQ(PlanMemory(request)->max_model_len, 1600);
  request.max_model_len = 100;
  EXPECT_EQ(PlanMemory(request)->max_model_len, 100);
}

TEST(MemoryPlan, WeightsAloneAreTooMuch) {
  MemoryRequest request = SmallRequest();
  request.free_bytes = 500 * kMiB;
  request.auto_max_model_len = true;
  EXPECT_EQ(
      PlanMemory(request).status().message(),
      "out of memory: weights 300.0 MiB + activations 100.0 MiB; 350.0 MiB may be used (0.70 of 500.0 MiB "
      "free); lower --max-num-batched-tokens, or raise --gpu-memory-utilization");
}

TEST(MemoryPlan, TheOperatorsChoice) {
  MemoryRequest request = SmallRequest();
  request.kv_cache_bytes = 100 * kMiB;
  EXPECT_EQ(PlanMemory(request)->num_blocks, 33);
  request.num_blocks = 200;  // 600 MiB: more than the share, but free
  EXPECT_EQ(PlanMemory(request)->num_blocks, 200);
  request.num_blocks = 201;
  EXPECT_EQ(PlanMemory(request).status().message(),
            "out of memory: weights 300.0 MiB + activations 100.0 MiB + KV cache 603.0 MiB (201 blocks) = "
            "1003.0 MiB, "
            "but 1000.0 MiB is free; lower --num-gpu-blocks-override or --max-num-batched-tokens");
  request.num_blocks = 9;
  EXPECT_NE(PlanMemory(request).status().message().find("or raise --num-gpu-blocks-override"),
            std::string::npos);
}

TEST(MemoryPlan, Texts) {
  EXPECT_EQ(FormatBytes(1536 * kMiB), "1.50 GiB");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

}  // namespace
}  // namespace penstock
