// ModelConfig: what config.json of a Hugging Face model directory says, for every supported architecture.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"
#include "weights/weight_types.h"

namespace penstock {

// rope_scaling / rope_parameters of config.json.
struct RopeConfig {
  enum class Type { kDefault, kLinear, kLlama3, kYarn };
  Type type = Type::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  int32_t original_max_position_embeddings = 0;
  // llama3
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // yarn
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 1.0;
  double mscale_all_dim = 0.0;
  double attention_factor = 0.0;  // 0: derived from factor
  bool truncate = true;
};

struct ModelConfig {
  std::string
      architecture;  // "LlamaForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM"
  DType stored_dtype = DType::kBF16;  // torch_dtype / dtype
  int32_t vocab_size = 0;
  int32_t hidden_dim = 0;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t intermediate_dim = 0;
  int32_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-6f;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  RopeConfig rope;

  // mixture of experts; num_experts == 0: dense
  int32_t num_experts = 0;
  int32_t num_experts_per_token = 0;
  int32_t moe_intermediate_dim = 0;
  int32_t num_shared_experts = 0;
  int32_t first_dense_layers = 0;        // DeepSeek: first_k_dense_replace
  int32_t decoder_sparse_step = 1;       // Qwen3-MoE
  std::vector<int32_t> mlp_only_layers;  // Qwen3-MoE
  RouterShape router;                    // bias stays null: it is a tensor

  // latent attention (DeepSeek); kv_lora_rank == 0: grouped-query attention
  int32_t q_lora_rank = 0;  // 0: q is projected directly
  int32_t kv_lora_rank = 0;
  int32_t nope_dim = 0;
  int32_t rope_dim = 0;
  int32_t v_dim = 0;
  bool rope_interleave = true;
  int32_t num_nextn_predict_layers = 0;  // MTP layers: their weights are skipped

  // FP8 weights (quantization_config.quant_method "fp8"): block of the scales; 0: not FP8
  int32_t fp8_block_rows = 0;
  int32_t fp8_block_cols = 0;

  // 8-bit weights: the type of each (quant_model_description.json, or compressed-tensors); null: all are
  // float
  std::shared_ptr<const WeightTypes> weight_types;
  // float weights become int8 when they are loaded
  bool quantise_weights = false;

  std::vector<int32_t> eos_token_ids;  // of generation_config.json, else config.json
  int32_t bos_token_id = -1;
};

// Whether a layer has experts, by the fields of the families that are here.
bool HasExperts(const ModelConfig& config, int32_t layer);

// Reads DIR/config.json (and generation_config.json for the end-of-sequence ids, and the description of
// Ascend weights where there is one). `quantization` is what --quantization says: "" takes the checkpoint as
// it is; "ascend", "compressed-tensors" and "fp8" insist on that format; "w8a8-dynamic" makes float (or block
// FP8) weights int8 when they are loaded. kUnimplemented naming the field and its value for what is not
// supported; kInvalidArgument for what makes no sense, kNotFound for a file that is not there.
Result<ModelConfig> ReadModelConfig(const std::string& model_dir, const std::string& quantization = "");

}  // namespace penstock
