// For tests: tiny checkpoints of every architecture with random weights, written from its tensor table.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/architecture.h"
#include "model/model_config.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock::testing {

// config.json of a model with 4 layers and all that its family can have. `family`: llama, qwen3, qwen3_moe,
// deepseek_v3.
inline Json TinyConfig(std::string_view family) {
  Json config = {{"hidden_size", 64},        {"num_hidden_layers", 4},         {"num_attention_heads", 4},
                 {"intermediate_size", 96},  {"max_position_embeddings", 256}, {"vocab_size", 97},
                 {"rms_norm_eps", 1e-5},     {"hidden_act", "silu"},           {"torch_dtype", "float32"},
                 {"num_key_value_heads", 2}, {"rope_theta", 10000.0},          {"eos_token_id", 2}};
  if (family == "llama") {
    config["architectures"] = {"LlamaForCausalLM"};
    config["attention_bias"] = true;
    config["tie_word_embeddings"] = true;
  } else if (family == "qwen3") {
    config["architectures"] = {"Qwen3ForCausalLM"};
    config["head_dim"] = 32;
  } else if (family == "qwen3_moe") {
    config["architectures"] = {"Qwen3MoeForCausalLM"};
    config.update({{"num_experts", 8}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 32}});
    config.update({{"norm_topk_prob", true}, {"mlp_only_layers", {1}}});
  } else {
    CHECK(family == "deepseek_v3") << family;
    config["architectures"] = {"DeepseekV3ForCausalLM"};
    config.update(
        {{"q_lora_rank", 48}, {"kv_lora_rank", 32}, {"qk_nope_head_dim", 32}, {"qk_rope_head_dim", 16}});
    config.update({{"v_head_dim", 16}, {"num_key_value_heads", 4}, {"n_routed_experts", 8}, {"n_group", 4}});
    config.update({{"topk_group", 2}, {"num_experts_per_tok", 3}, {"moe_intermediate_size", 32}});
    config.update({{"n_shared_experts", 2}, {"first_k_dense_replace", 1}, {"num_nextn_predict_layers", 1}});
    config["rope_scaling"] = {{"type", "yarn"},  {"factor", 8.0},
                              {"mscale", 1.0},   {"original_max_position_embeddings", 32},
                              {"beta_fast", 32}, {"mscale_all_dim", 1.0}};
  }
  return config;
}

inline const std::vector<std::string>& Families() {
  static const std::vector<std::string> families = {"llama", "qwen3", "qwen3_moe", "deepseek_v3"};
  return families;
}

// Values for a tensor: norms near 1, the rest around 0, such that activations keep their size.
inline std::vector<float> RandomValues(const TensorSpec& spec, std::mt19937& random) {
  size_t count = 1;
  for (const int64_t dim : spec.shape) count *= static_cast<size_t>(dim);
  const bool is_norm = spec.name.find("norm") != spec.name.npos;
  const bool is_matrix = spec.shape.size() == 2 && spec.name.find("embed") == spec.name.npos;
  const float spread = is_matrix ? 1.5f / std::sqrt(static_cast<float>(spec.shape[1]))
                       : is_norm ? 0.2f
                                 : 0.3f;
  std::normal_distribution<float> normal(is_norm ? 1.0f : 0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Adds the tensors of the table that `wanted` accepts, and a head only where it is not tied.
inline SafetensorsBuilder RandomTensors(const ModelConfig& config, bool bf16 = false,
                                        const std::function<bool(const TensorSpec&)>& wanted = {}) {
  std::mt19937 random(20240607);
  SafetensorsBuilder builder;
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  for (const TensorSpec& spec : table.specs()) {
    if (spec.optional || (spec.name == "lm_head.weight" && config.tie_word_embeddings)) continue;
    const std::vector<float> values = RandomValues(spec, random);
    if (wanted && !wanted(spec)) continue;
    builder.Add(spec.name, bf16 ? "BF16" : "F32", spec.shape, bf16 ? Bf16Bytes(values) : F32Bytes(values));
  }
  return builder;
}

// Writes config.json and model.safetensors; gives back what was read of the first.
inline ModelConfig WriteTinyModel(const TempDir& dir, const Json& config_json, bool bf16 = false) {
  dir.Write("config.json", config_json.dump());
  const ModelConfig config = ReadModelConfig(dir.path()).value();
  dir.Write("model.safetensors", RandomTensors(config, bf16).Text());
  return config;
}

}  // namespace penstock::testing
