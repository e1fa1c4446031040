// SPDX-License-Identifier: Apache-2.0
#include "apps/auto_partition.h"

#include <gtest/gtest.h>

#include "apps/saved_cost_model.h"
#include "apps/testing/small_plan.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using Layers = std::vector<int32_t>;

EnginePlan PlanOfAlikeLayers() {
  EnginePlan plan = SmallPlan();
  plan.model.hidden_dim = 64;
  plan.model.num_heads = 4;
  plan.model.num_kv_heads = 2;
  plan.model.head_dim = 16;
  plan.model.intermediate_dim = 256;
  return plan;
}

class AutoPartitionTest : public ::testing::Test {
 protected:
  AutoPartitionTest() {
    model_.Write("config.json", "{}");
    run_ = SmallRun(model_.path());
    run_.cache_dir = cache_.path();
  }
  // As if the default partition had been measured.
  void Save(const EnginePlan& plan, double first_token_us, double second_token_us) {
    const CostModelKey key = MakeCostModelKey(run_, plan);
    const SavedCostModel saved = {
        .model = {{{.step_us = 1, .token_us = first_token_us}, {.step_us = 1, .token_us = second_token_us}}},
        .quality = {}};
    ASSERT_TRUE(SaveCostModel(CostModelPath(run_, key), key, saved).ok());
  }

  testing::TempDir model_, cache_;
  RunConfig run_;
};

TEST_F(AutoPartitionTest, AlikeLayersAreCutAsByDefault) {
  EXPECT_EQ(*AutoPartition(run_, PlanOfAlikeLayers()), (Layers{4, 4}));
}

TEST_F(AutoPartitionTest, CountsWhatLayersCost) {
  EnginePlan plan = PlanOfAlikeLayers();
  plan.model.architecture = "Qwen3MoeForCausalLM";
  plan.model.num_experts = 8;
  plan.model.num_experts_per_token = 2;
  plan.model.moe_intermediate_dim = 16;
  plan.model.mlp_only_layers = {0, 1};  // dense, and many times as wide as two experts
  plan.model.intermediate_dim = 2048;
  EXPECT_EQ(*AutoPartition(run_, plan), (Layers{3, 5}));
}

TEST_F(AutoPartitionTest, GoesByWhatWasMeasured) {
  const EnginePlan plan = PlanOfAlikeLayers();
  Save(plan, 10, 17);
  EXPECT_EQ(*AutoPartition(run_, plan), (Layers{5, 3}));
}

TEST_F(AutoPartitionTest, WhatAMeasurementDoesNotSayIsCounted) {
  const EnginePlan plan = PlanOfAlikeLayers();
  Save(plan, 10, 0.0);
  EXPECT_EQ(*AutoPartition(run_, plan), (Layers{4, 4}));
}

TEST(PromptCosts, HeadAndEmbeddingAreCounted) {
  ModelConfig model = PlanOfAlikeLayers().model;
  const LayerCosts costs = *PromptCosts(model, 100);
  EXPECT_EQ(costs.layers.size(), 8u);
  EXPECT_DOUBLE_EQ(costs.head, 2.0 * 64 * 1000);
  EXPECT_DOUBLE_EQ(costs.embedding, 6400);
  EXPECT_DOUBLE_EQ(costs.layers[0], 100 * 2.0 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 256) + 5000 * 256.0);
}

}  // namespace
}  // namespace penstock
