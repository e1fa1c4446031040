// Qwen3, dense: Llama, but each head of q and k is normed before it is rotated.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/architecture.h"
#include "model/dense_mlp.h"
#include "model/gqa_attention.h"
#include "model/sliding_window.h"

namespace penstock {
namespace {

constexpr int32_t kDefaultHeadDim = 128;  // whatever hidden_size / num_attention_heads is

GqaAttention::Options AttentionOptions(const ModelConfig& config) {
  return {.qk_norm = true, .bias = config.attention_bias};
}

void ReadConfig(ConfigReader& json, ModelConfig& config) {
  if (config.head_dim == 0) config.head_dim = kDefaultHeadDim;
  RefuseSlidingWindow(json);
}

void DeclareLayer(const ModelConfig& config, int32_t layer, TensorTable& table) {
  DeclareNorms(config, layer, table);
  GqaAttention::Declare(config, AttentionOptions(config), layer, table);
  DenseMlp::Declare("mlp.", config.hidden_dim, config.intermediate_dim, layer, table);
}

DecoderLayer MakeLayer(const ModelConfig& config, int32_t, WeightSource& weights) {
  DecoderLayer layer = MakeNorms(weights);
  layer.attention = std::make_unique<GqaAttention>(config, AttentionOptions(config), weights);
  layer.mlp = std::make_unique<DenseMlp>("mlp.", weights);
  return layer;
}

}  // namespace

const Architecture kQwen3 = {"Qwen3ForCausalLM", ReadConfig, DeclareLayer, MakeLayer};

}  // namespace penstock
