// Qwen3-MoE: Qwen3's attention; most layers' MLP is a mixture of experts, chosen by softmax.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "model/architecture.h"
#include "model/dense_mlp.h"
#include "model/gqa_attention.h"
#include "model/moe_mlp.h"
#include "model/sliding_window.h"

namespace penstock {
namespace {

GqaAttention::Options AttentionOptions(const ModelConfig& config) {
  return {.qk_norm = true, .bias = config.attention_bias};
}

void ReadConfig(ConfigReader& json, ModelConfig& config) {
  if (config.head_dim == 0 && config.num_heads > 0) config.head_dim = config.hidden_dim / config.num_heads;
  RefuseSlidingWindow(json);
  config.num_experts = json.Int(json.Has("num_experts") ? "num_experts" : "num_local_experts");
  config.num_experts_per_token = json.Int("num_experts_per_tok");
  config.moe_intermediate_dim = json.Int("moe_intermediate_size");
  config.decoder_sparse_step = json.Int("decoder_sparse_step", 1);
  config.mlp_only_layers = json.Ints("mlp_only_layers");
  if (config.num_experts <= 0) json.Fail(InvalidArgument("num_experts = {}", config.num_experts));
  config.router = RouterShape{.score = RouterShape::Score::kSoftmax,
                              .num_experts = config.num_experts,
                              .top_k = config.num_experts_per_token,
                              .normalize = json.Bool("norm_topk_prob", false)};
}

bool IsSparse(const ModelConfig& config, int32_t layer) {
  return std::ranges::find(config.mlp_only_layers, layer) == config.mlp_only_layers.end() &&
         (layer + 1) % config.decoder_sparse_step == 0;
}

void DeclareLayer(const ModelConfig& config, int32_t layer, TensorTable& table) {
  DeclareNorms(config, layer, table);
  GqaAttention::Declare(config, AttentionOptions(config), layer, table);
  if (IsSparse(config, layer)) {
    MoeMlp::Declare(config, {}, layer, table);
  } else {
    DenseMlp::Declare("mlp.", config.hidden_dim, config.intermediate_dim, layer, table);
  }
}

DecoderLayer MakeLayer(const ModelConfig& config, int32_t layer_idx, WeightSource& weights) {
  DecoderLayer layer = MakeNorms(weights);
  layer.attention = std::make_unique<GqaAttention>(config, AttentionOptions(config), weights);
  if (IsSparse(config, layer_idx)) {
    layer.mlp = std::make_unique<MoeMlp>(config, MoeMlp::Options{}, layer_idx, weights);
  } else {
    layer.mlp = std::make_unique<DenseMlp>("mlp.", weights);
  }
  return layer;
}

}  // namespace

const Architecture kQwen3Moe = {"Qwen3MoeForCausalLM", ReadConfig, DeclareLayer, MakeLayer};

}  // namespace penstock
