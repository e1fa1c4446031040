// Llama 2, 3 and their like (SmolLM2, …): grouped-query attention and a dense MLP.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/architecture.h"
#include "model/dense_mlp.h"
#include "model/gqa_attention.h"

namespace penstock {
namespace {

GqaAttention::Options AttentionOptions(const ModelConfig& config) {
  return {.qk_norm = false, .bias = config.attention_bias};
}

void ReadConfig(ConfigReader&, ModelConfig& config) {
  if (config.head_dim == 0 && config.num_heads > 0) config.head_dim = config.hidden_dim / config.num_heads;
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

const Architecture kLlama = {"LlamaForCausalLM", ReadConfig, DeclareLayer, MakeLayer};

}  // namespace penstock
