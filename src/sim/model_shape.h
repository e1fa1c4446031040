// ModelShape: the sizes of a model, as far as they say what a layout of ranks computes, reads and sends.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock {

// Numbers of config.json; double, because they are only multiplied.
struct ModelShape {
  int num_layers = 0;
  int num_dense_layers = 0;  // of these, the first ones, without experts; all of a dense model
  double hidden_dim = 0;
  double vocab_size = 0;
  double intermediate_dim = 0;  // of the dense layers
  double num_heads = 0;

  // Grouped-query attention; kv_lora_rank == 0.
  double num_kv_heads = 0;
  double head_dim = 0;
  // Latent attention.
  double q_lora_rank = 0;  // 0: q is projected directly
  double kv_lora_rank = 0;
  double nope_dim = 0;
  double rope_dim = 0;
  double v_dim = 0;

  // Experts; 0: none.
  double num_experts = 0;
  double experts_per_token = 0;
  double moe_intermediate_dim = 0;
  double num_shared_experts = 0;

  double weight_bytes = 2;  // of an element of a layer's matrices; 1: 8-bit integers, activations too

  bool latent() const { return kv_lora_rank > 0; }
  bool is_int8() const { return weight_bytes == 1; }
  double query_key_dim() const { return latent() ? nope_dim + rope_dim : head_dim; }
  double value_dim() const { return latent() ? v_dim : head_dim; }
};

struct ModelPreset {
  std::string_view name;
  ModelShape shape;
};
// deepseek-v3.1 and qwen3-235b, both with 8-bit weights and activations (W8A8).
std::vector<ModelPreset> ModelPresets();
// kInvalidArgument, with the names that there are.
Result<ModelShape> FindModelPreset(std::string_view name);

}  // namespace penstock
