// SPDX-License-Identifier: Apache-2.0
#include "model/check_share.h"

namespace penstock {
namespace {

// `what` as config.json has it.
Status CheckCut(int32_t size, const char* what, int32_t count) {
  if (count % size == 0) return OkStatus();
  return InvalidArgument("--tensor-parallel-size {}: the model's {} is {}, expected a multiple of {}", size,
                         what, count, size);
}

bool HasDenseLayers(const ModelConfig& config) {
  return config.num_experts == 0 || config.first_dense_layers > 0 || config.decoder_sparse_step > 1 ||
         !config.mlp_only_layers.empty();
}

Status CheckExperts(const ModelConfig& config, const RankShare& share) {
  if (share.ep_size == 1)
    return CheckCut(share.tp_size, "moe_intermediate_size", config.moe_intermediate_dim);
  if (config.num_shared_experts == 0) return OkStatus();
  return CheckCut(share.tp_size, "moe_intermediate_size x n_shared_experts",
                  config.moe_intermediate_dim * config.num_shared_experts);
}

}  // namespace

Status CheckShare(const ModelConfig& config, const RankShare& share) {
  const int32_t tp_size = share.tp_size;
  RETURN_IF_ERROR(CheckCut(tp_size, "num_attention_heads", config.num_heads));
  if (config.kv_lora_rank == 0 &&
      tp_size % config.num_kv_heads != 0) {  // a multiple of it: they are repeated
    RETURN_IF_ERROR(CheckCut(tp_size, "num_key_value_heads", config.num_kv_heads));
  }
  if (HasDenseLayers(config)) {
    RETURN_IF_ERROR(CheckCut(tp_size, "intermediate_size", config.intermediate_dim));
  }
  return config.num_experts > 0 ? CheckExperts(config, share) : OkStatus();
}

}  // namespace penstock
