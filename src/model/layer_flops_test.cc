// SPDX-License-Identifier: Apache-2.0
#include "model/layer_flops.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

ModelConfig Llama8b() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = 128256;
  config.hidden_dim = 4096;
  config.num_layers = 32;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.intermediate_dim = 14336;
  return config;
}

TEST(LayerFlops, Dense) {
  const ModelFlops flops = *CountFlops(Llama8b());
  ASSERT_EQ(flops.layers.size(), 32u);
  EXPECT_DOUBLE_EQ(flops.layers[7].per_token, 2.0 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096.0 * 14336));
  EXPECT_DOUBLE_EQ(flops.layers[7].per_pair, 2.0 * 32 * (128 + 128));
  EXPECT_DOUBLE_EQ(flops.head_per_sample, 2.0 * 4096 * 128256);
}

TEST(LayerFlops, OfExpertsThoseThatATokenTakes) {
  ModelConfig config = Llama8b();
  config.architecture = "Qwen3MoeForCausalLM";
  config.num_experts = 128;
  config.num_experts_per_token = 8;
  config.moe_intermediate_dim = 768;
  config.mlp_only_layers = {0};
  const ModelFlops flops = *CountFlops(config);
  const double attention = 2 * 4096 * 4096 + 2 * 4096 * 1024;
  EXPECT_DOUBLE_EQ(flops.layers[0].per_token, 2 * (attention + 3 * 4096.0 * 14336));
  EXPECT_DOUBLE_EQ(flops.layers[1].per_token, 2 * (attention + 128 * 4096 + 8 * 3 * 4096.0 * 768));
}

TEST(LayerFlops, LatentAttention) {
  ModelConfig config = Llama8b();
  config.architecture = "DeepseekV3ForCausalLM";
  config.num_experts = 16;
  config.num_experts_per_token = 2;
  config.moe_intermediate_dim = 512;
  config.num_shared_experts = 1;
  config.first_dense_layers = 1;
  config.kv_lora_rank = 512;
  config.nope_dim = 128;
  config.rope_dim = 64;
  config.v_dim = 128;
  const ModelFlops flops = *CountFlops(config);
  EXPECT_DOUBLE_EQ(flops.layers[1].per_pair, 2.0 * 32 * (192 + 128));
  EXPECT_GT(flops.layers[0].per_token, 2 * flops.layers[1].per_token);
}

TEST(LayerFlops, UnknownArchitecture) { EXPECT_FALSE(CountFlops(ModelConfig{}).ok()); }

}  // namespace
}  // namespace penstock
