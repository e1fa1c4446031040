// GqaAttention: grouped-query attention of Llama and Qwen.
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

class GqaAttention : public Attention {
 public:
  struct Options {
    bool qk_norm = false;  // Qwen3: each head of q and k is normed before it is rotated
    bool bias = false;     // of q, k, v and o
  };

  static void Declare(const ModelConfig& config, const Options& options, int32_t layer, TensorTable& table);
  GqaAttention(const ModelConfig& config, const Options& options, WeightSource& weights);

  void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const override;
  size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const override;
  size_t KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const override;

 private:
  int64_t q_dim() const { return int64_t{shape_.num_heads} * shape_.head_dim; }
  int64_t kv_dim() const { return int64_t{shape_.num_kv_heads} * shape_.head_dim; }

  void NormRopeStore(const LayerStep& step, const Mat& qkv) const;

  const RankShare share_;
  const int64_t hidden_dim_;
  const GqaShape shape_;  // of this rank's heads
  const float norm_eps_;
  std::unique_ptr<PackedMat> qkv_;  // [q_dim + 2 * kv_dim, hidden_dim]
  std::unique_ptr<PackedMat> o_;    // [hidden_dim, q_dim]
  std::vector<float> qkv_bias_;     // empty: none
  std::vector<float> o_bias_;
  NormWeights q_norm_;  // [head_dim]; empty: none
  NormWeights k_norm_;
};

}  // namespace penstock
