// MoeMlp: a router, its experts, and experts that every token visits (DeepSeek's shared ones).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/block.h"
#include "model/dense_mlp.h"
#include "model/model_config.h"
#include "model/tensor_table.h"
#include "model/weight_source.h"

namespace penstock {

class MoeMlp : public Block {
 public:
  struct Options {
    bool score_bias = false;  // mlp.gate.e_score_correction_bias moves the choice of experts
  };

  static void Declare(const ModelConfig& config, const Options& options, int32_t layer, TensorTable& table);
  MoeMlp(const ModelConfig& config, const Options& options, WeightSource& weights);

  void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const override;
  size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const override;
  size_t KernelScratchBytes(int64_t num_tokens) const override;

 private:
  static int32_t SharedDim(const ModelConfig& config) {
    return config.moe_intermediate_dim * config.num_shared_experts;
  }

  const RankShare share_;
  const int64_t hidden_dim_;
  const int64_t intermediate_dim_;  // of an expert, this rank's part of it
  RouterShape router_;
  std::unique_ptr<PackedMat> gate_;  // [num_experts, hidden_dim]
  std::vector<float> score_bias_;    // [num_experts]; empty: none
  ExpertWeights experts_;
  std::unique_ptr<DenseMlp> shared_;  // null: none
};

}  // namespace penstock
