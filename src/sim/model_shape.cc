// SPDX-License-Identifier: Apache-2.0
#include "sim/model_shape.h"

#include <string>

namespace penstock {

std::vector<ModelPreset> ModelPresets() {
  return {{"deepseek-v3.1",
           {.num_layers = 61,
            .num_dense_layers = 3,
            .hidden_dim = 7168,
            .vocab_size = 129280,
            .intermediate_dim = 18432,
            .num_heads = 128,
            .q_lora_rank = 1536,
            .kv_lora_rank = 512,
            .nope_dim = 128,
            .rope_dim = 64,
            .v_dim = 128,
            .num_experts = 256,
            .experts_per_token = 8,
            .moe_intermediate_dim = 2048,
            .num_shared_experts = 1,
            .weight_bytes = 1}},
          {"qwen3-235b",
           {.num_layers = 94,
            .num_dense_layers = 0,
            .hidden_dim = 4096,
            .vocab_size = 151936,
            .num_heads = 64,
            .num_kv_heads = 4,
            .head_dim = 128,
            .num_experts = 128,
            .experts_per_token = 8,
            .moe_intermediate_dim = 1536,
            .weight_bytes = 1}}};
}

Result<ModelShape> FindModelPreset(std::string_view name) {
  std::string names;
  for (const ModelPreset& preset : ModelPresets()) {
    if (preset.name == name) return preset.shape;
    names += (names.empty() ? "" : ", ") + std::string(preset.name);
  }
  return InvalidArgument("got \"{}\", expected one of {}, or a model directory", name, names);
}

}  // namespace penstock
