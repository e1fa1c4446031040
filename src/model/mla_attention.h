// MlaAttention: multi-head latent attention of DeepSeek-V2/V3. The cache holds latents, not keys and values.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/block.h"
#include "model/model_config.h"
#include "model/tensor_table.h"
#include "model/weight_source.h"

namespace penstock {

class MlaAttention : public Attention {
 public:
  struct Options {
    bool bias = false;  // of q_a, kv_a and o
  };

  static void Declare(const ModelConfig& config, const Options& options, int32_t layer, TensorTable& table);
  MlaAttention(const ModelConfig& config, const Options& options, WeightSource& weights);

  void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const override;
  size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const override;
  size_t KernelScratchBytes(int64_t num_tokens) const override;
  size_t KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const override;

 private:
  bool q_is_low_rank() const { return q_lora_rank_ > 0; }
  int64_t head_q_dim() const { return shape_.nope_dim + shape_.rope_dim; }
  int64_t q_dim() const { return shape_.num_heads * head_q_dim(); }
  int64_t v_dim() const { return int64_t{shape_.num_heads} * shape_.v_dim; }
  int64_t first_q_dim() const { return q_is_low_rank() ? q_lora_rank_ : q_dim(); }
  int64_t first_dim() const { return first_q_dim() + shape_.kv_lora_rank + shape_.rope_dim; }

  // What x is first multiplied with, of all rows; this rank's queries of it.
  Mat Queries(const LayerStep& step, const Mat& x, const Mat& first) const;
  void Store(const LayerStep& step, const Mat& first) const;

  const RankShare share_;
  const int64_t hidden_dim_;
  const MlaShape shape_;  // of this rank's heads
  const int32_t q_lora_rank_;
  const RopeStyle rope_style_;
  std::unique_ptr<PackedMat> first_;  // [first_dim, hidden_dim]: q_a (or all of q), latent, rotary key
  std::unique_ptr<PackedMat> q_b_;    // [q_dim, q_lora_rank]; null: q is direct
  std::unique_ptr<PackedKvB> kv_b_;
  std::unique_ptr<PackedMat> o_;   // [hidden_dim, v_dim]
  std::vector<float> first_bias_;  // [first_dim]; empty: none
  std::vector<float> o_bias_;      // [hidden_dim]; empty: none
  NormWeights q_a_norm_;           // [q_lora_rank]
  NormWeights kv_a_norm_;          // [kv_lora_rank]
};

// The factor of q·k: (nope + rope)^-1/2, times the square of YaRN's mscale_all_dim where the position scaling
// has one.
float MlaSoftmaxScale(const ModelConfig& config);

}  // namespace penstock
