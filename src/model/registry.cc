// The list of supported model families, and what they all share.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/architecture.h"

#include <utility>

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
  table.AddLayer(layer, NormSpecs("input_layernorm", config.hidden_dim));
  table.AddLayer(layer, NormSpecs("post_attention_layernorm", config.hidden_dim));
}

DecoderLayer MakeNorms(WeightSource& weights) {
  DecoderLayer layer;
  layer.attention_norm = weights.Norm("input_layernorm");
  layer.mlp_norm = weights.Norm("post_attention_layernorm");
  return layer;
}

TensorTable MakeTensorTable(const Architecture& architecture, const ModelConfig& config) {
  TensorTable table;
  table.Add({"model.embed_tokens.weight", {config.vocab_size, config.hidden_dim}, Shard::kVocab});
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    architecture.declare_layer(config, layer, table);
  }
  for (TensorSpec& spec : NormSpecs("model.norm", config.hidden_dim)) table.Add(std::move(spec));
  table.Add({"lm_head.weight", {config.vocab_size, config.hidden_dim}, Shard::kVocab});
  return table;
}

}  // namespace penstock
