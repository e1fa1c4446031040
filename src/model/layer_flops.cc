// SPDX-License-Identifier: Apache-2.0
#include "model/layer_flops.h"

#include "model/architecture.h"

namespace penstock {
namespace {

constexpr double kPerWeight = 2;  // a multiplication and an addition

double PairFlops(const ModelConfig& config) {
  const bool latent = config.kv_lora_rank > 0;
  const int32_t key_dim = latent ? config.nope_dim + config.rope_dim : config.head_dim;
  const int32_t value_dim = latent ? config.v_dim : config.head_dim;
  return kPerWeight * config.num_heads * (key_dim + value_dim);
}

}  // namespace

Result<ModelFlops> CountFlops(const ModelConfig& config) {
  const Architecture* architecture = FindArchitecture(config.architecture);
  if (architecture == nullptr) {
    return Unimplemented("architecture \"{}\" is not supported", config.architecture);
  }
  ModelFlops flops;
  flops.layers.resize(config.num_layers, {.per_token = 0, .per_pair = PairFlops(config)});
  const TensorTable table = MakeTensorTable(*architecture, config);
  for (const TensorSpec& spec : table.specs()) {
    if (spec.layer < 0 || spec.shape.size() != 2) continue;
    const bool is_expert = spec.shard == Shard::kExpertColumn || spec.shard == Shard::kExpertRow;
    const double share =
        is_expert ? static_cast<double>(config.num_experts_per_token) / config.num_experts : 1;
    flops.layers[spec.layer].per_token +=
        kPerWeight * share * static_cast<double>(spec.shape[0]) * static_cast<double>(spec.shape[1]);
  }
  flops.embedding_per_token = config.hidden_dim;  // a copy
  flops.head_per_sample = kPerWeight * config.hidden_dim * config.vocab_size;
  return flops;
}

}  // namespace penstock
