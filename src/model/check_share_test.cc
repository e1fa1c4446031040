// SPDX-License-Identifier: Apache-2.0
#include "model/check_share.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

ModelConfig Dense() {
  ModelConfig config;
  config.num_heads = 12;
  config.num_kv_heads = 2;
  config.intermediate_dim = 48;
  return config;
}

std::string Message(const ModelConfig& config, const RankShare& share) {
  return CheckShare(config, share).message();
}

TEST(CheckShareTest, HeadsAndInnerDimensionsMustDivide) {
  ModelConfig config = Dense();
  for (const int32_t size : {1, 2, 4, 6, 12}) EXPECT_EQ(Message(config, {.tp_size = size}), "") << size;
  EXPECT_EQ(Message(config, {.tp_size = 5}),
            "--tensor-parallel-size 5: the model's num_attention_heads is 12, expected a multiple of 5");
  EXPECT_EQ(Message(config, {.tp_size = 3}),
            "--tensor-parallel-size 3: the model's num_key_value_heads is 2, expected a multiple of 3");
  config.intermediate_dim = 50;
  EXPECT_EQ(Message(config, {.tp_size = 4}),
            "--tensor-parallel-size 4: the model's intermediate_size is 50, expected a multiple of 4");
  EXPECT_EQ(Message(config, {.pcp_size = 7}), "");
}

TEST(CheckShareTest, LatentAttentionHasNoKeyValueHeads) {
  ModelConfig config = Dense();
  config.kv_lora_rank = 16;
  EXPECT_EQ(Message(config, {.tp_size = 3}), "");
}

TEST(CheckShareTest, ExpertsAreSpreadOrCut) {
  ModelConfig config = Dense();
  config.num_experts = 6;
  config.moe_intermediate_dim = 10;
  config.intermediate_dim = 0;  // every layer has experts
  EXPECT_EQ(Message(config, {.tp_size = 2}), "");
  EXPECT_EQ(Message(config, {.tp_size = 4}),
            "--tensor-parallel-size 4: the model's moe_intermediate_size is 10, expected a multiple of 4");
  EXPECT_EQ(Message(config, {.tp_size = 2, .pcp_size = 3, .ep_size = 6}), "");
  EXPECT_EQ(Message(config, {.tp_size = 4, .ep_size = 4}), "") << "ranks may have one expert more or less";
  EXPECT_EQ(Message(config, {.pcp_size = 8, .ep_size = 8}), "") << "or none";
  config.num_experts = 8;
  config.num_shared_experts = 1;
  EXPECT_EQ(
      Message(config, {.tp_size = 4, .ep_size = 4}),
      "--tensor-parallel-size 4: the model's moe_intermediate_size x n_shared_experts is 10, expected a "
      "multiple of 4");
}

}  // namespace
}  // namespace penstock
