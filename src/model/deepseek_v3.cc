// DeepSeek-V3 and R1: latent attention; after the first layers, a mixture of experts chosen by sigmoid within
// groups, beside experts that every token visits. https://arxiv.org/abs/2412.19437
//
// SPDX-License-Identifier: Apache-2.0
#include "model/architecture.h"
#include "model/dense_mlp.h"
#include "model/mla_attention.h"
#include "model/moe_mlp.h"

namespace penstock {
namespace {

constexpr MoeMlp::Options kMoeOptions = {.score_bias = true};

MlaAttention::Options AttentionOptions(const ModelConfig& config) { return {.bias = config.attention_bias}; }

void ReadMoeConfig(ConfigReader& json, ModelConfig& config) {
  json.Only("scoring_func", "sigmoid");
  json.Only("topk_method", "noaux_tc");
  json.Only("moe_layer_freq", 1);
  config.num_experts = json.Int(json.Has("n_routed_experts") ? "n_routed_experts" : "num_local_experts");
  config.num_experts_per_token = json.Int("num_experts_per_tok");
  config.moe_intermediate_dim = json.Int("moe_intermediate_size");
  config.num_shared_experts = json.Int("n_shared_experts", 0);
  config.first_dense_layers = json.Int("first_k_dense_replace", 3);
  if (config.num_experts <= 0) json.Fail(InvalidArgument("n_routed_experts = {}", config.num_experts));
  config.router = RouterShape{.score = RouterShape::Score::kSigmoid,
                              .num_experts = config.num_experts,
                              .top_k = config.num_experts_per_token,
                              .normalize = json.Bool("norm_topk_prob", true),
                              .scaling = static_cast<float>(json.Number("routed_scaling_factor", 2.5)),
                              .num_groups = json.Int("n_group", 1),
                              .top_k_groups = json.Int("topk_group", 1)};
}

void ReadConfig(ConfigReader& json, ModelConfig& config) {
  config.head_dim = 0;  // what the file says of it is the rotated part only
  config.q_lora_rank = json.Int("q_lora_rank", 0);
  config.kv_lora_rank = json.Int("kv_lora_rank");
  config.nope_dim = json.Int("qk_nope_head_dim");
  config.rope_dim = json.Int("qk_rope_head_dim");
  config.v_dim = json.Int("v_head_dim");
  config.rope_interleave = json.Bool("rope_interleave", true);
  config.num_nextn_predict_layers =
      json.Int(json.Has("num_nextn_predict_layers") ? "num_nextn_predict_layers" : "num_mtp_layers", 0);
  if (config.kv_lora_rank <= 0) json.Fail(InvalidArgument("kv_lora_rank = {}", config.kv_lora_rank));
  ReadMoeConfig(json, config);
}

void DeclareLayer(const ModelConfig& config, int32_t layer, TensorTable& table) {
  DeclareNorms(config, layer, table);
  MlaAttention::Declare(config, AttentionOptions(config), layer, table);
  if (layer >= config.first_dense_layers) {
    MoeMlp::Declare(config, kMoeOptions, layer, table);
  } else {
    DenseMlp::Declare("mlp.", config.hidden_dim, config.intermediate_dim, layer, table);
  }
}

DecoderLayer MakeLayer(const ModelConfig& config, int32_t layer_idx, WeightSource& weights) {
  DecoderLayer layer = MakeNorms(weights);
  layer.attention = std::make_unique<MlaAttention>(config, AttentionOptions(config), weights);
  if (layer_idx >= config.first_dense_layers) {
    layer.mlp = std::make_unique<MoeMlp>(config, kMoeOptions, layer_idx, weights);
  } else {
    layer.mlp = std::make_unique<DenseMlp>("mlp.", weights);
  }
  return layer;
}

}  // namespace

const Architecture kDeepseekV3 = {"DeepseekV3ForCausalLM", ReadConfig, DeclareLayer, MakeLayer};

}  // namespace penstock
