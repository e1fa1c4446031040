// What a token takes in the KV cache, beside figures computed by hand.
//
//   grouped queries   layers * 2 (key, value) * num_kv_heads * head_dim * bytes
//   latent (MLA)      layers * (kv_lora_rank + rope_dim) * bytes: neither heads nor values
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "model/model.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

struct KvCase {
  std::string family;
  Json sizes;  // of the real model
  size_t bf16_bytes, f32_bytes;
};

std::vector<KvCase> KvCases() {
  return {
      // Llama-3.1-8B: 32 * 2 * 8 * 128 = 65,536 numbers
      {"llama",
       {{"num_hidden_layers", 32},
        {"hidden_size", 4096},
        {"num_attention_heads", 32},
        {"num_key_value_heads", 8},
        {"head_dim", 128}},
       131'072,
       262'144},
      // Qwen3-235B-A22B: 94 * 2 * 4 * 128 = 96,256 numbers
      {"qwen3_moe",
       {{"num_hidden_layers", 94},
        {"hidden_size", 4096},
        {"num_attention_heads", 64},
        {"num_key_value_heads", 4},
        {"head_dim", 128}},
       192'512,
       385'024},
      // DeepSeek-V3: 61 * (512 + 64) = 35,136 numbers
      {"deepseek_v3",
       {{"num_hidden_layers", 61},
        {"hidden_size", 7168},
        {"num_attention_heads", 128},
        {"num_key_value_heads", 128},
        {"q_lora_rank", 1536},
        {"kv_lora_rank", 512},
        {"qk_nope_head_dim", 128},
        {"qk_rope_head_dim", 64},
        {"v_head_dim", 128}},
       70'272,
       140'544},
  };
}

size_t BytesPerToken(const ModelConfig& config, const LayerRange& range, DType dtype,
                     const Kernels& kernels) {
  const ModelOptions options = {.dtype = dtype, .block_size = 64, .max_batched_tokens = 256};
  const size_t block_bytes = EstimateModelMemory(config, range, options, kernels).value().kv_block_bytes;
  EXPECT_EQ(block_bytes % 64, 0u);
  return block_bytes / 64;
}

class KvBytesTest : public ::testing::TestWithParam<std::string> {};

TEST_P(KvBytesTest, AreAsOnPaper) {
  const testing::TestKernels kernels(GetParam());
  for (const KvCase& c : KvCases()) {
    SCOPED_TRACE(c.family);
    testing::TempDir dir;
    Json json = testing::TinyConfig(c.family);
    json.update(c.sizes);
    dir.Write("config.json", json.dump());
    const ModelConfig config = ReadModelConfig(dir.path()).value();
    const int32_t layers = config.num_layers;
    for (const auto& [dtype, expected] :
         {std::pair(DType::kBF16, c.bf16_bytes), std::pair(DType::kF32, c.f32_bytes)}) {
      const auto bytes_of = [&, dtype = dtype](const LayerRange& range) {
        return BytesPerToken(config, range, dtype, *kernels.kernels);
      };
      EXPECT_EQ(bytes_of({0, layers, true, true}), expected);
      // Stages of 5 layers, of 1, and of the rest: each holds its own share.
      const size_t first = bytes_of({0, 5, true, false}), second = bytes_of({5, 6, false, false});
      EXPECT_EQ(first, expected / layers * 5);
      EXPECT_EQ(second, expected / layers);
      EXPECT_EQ(first + second + bytes_of({6, layers, false, true}), expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, KvBytesTest, ::testing::ValuesIn(testing::KernelNames()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace penstock
