// The list of supported model families, and what they all share.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/architecture.h"

namespace penstock {

std::span<const Architecture* const> Architectures() {
  static constexpr const Architecture* kAll[] = {
      &kLlama,
      &kQwen3,
      &kQwen3Moe,
      &kDeepseekV3,
  };
  return kAll;
}

const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture* architecture : Architectures()) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

void DeclareNorms(const ModelConfig& config, int32_t layer, TensorTable& table) {
  std::vector<TensorSpec> specs = {
      {"input_layernorm.weight", {config.hidden_dim}, Shard::kReplicated},
      {"post_attention_layernorm.weight", {config.hidden_dim}, Shard::kReplicated},
  };
  table.AddLayer(layer, std::move(specs));
}

DecoderLayer MakeNorms(WeightSource& weights) {
  DecoderLayer layer;
  layer.attention_norm = weights.Vector({"input_layernorm.weight"});
  layer.mlp_norm = weights.Vector({"post_attention_layernorm.weight"});
  return layer;
}

TensorTable MakeTensorTable(const Architecture& architecture, const ModelConfig& config) {
  TensorTable table;
  table.Add({"model.embed_tokens.weight", {config.vocab_size, config.hidden_dim}, Shard::kVocab});
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    architecture.declare_layer(config, layer, table);
  }
  table.Add({"model.norm.weight", {config.hidden_dim}, Shard::kReplicated});
  table.Add({"lm_head.weight", {config.vocab_size, config.hidden_dim}, Shard::kVocab});
  return table;
}

}  // namespace penstock
