// MoeMlp: a router, its experts, and experts that every token visits (DeepSeek's shared ones).
//
// Where experts are spread over ranks (RankShare::ep_size > 1), a rank routes rows of its own only, and
// ExpertExchange takes them to the experts and back: the rows that it is given; where tensor-parallel ranks
// work on the same rows, those that OwnRows() says.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/block.h"
#include "model/dense_mlp.h"
#include "model/expert_placement.h"
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
  MoeMlp(const ModelConfig& config, const Options& options, int32_t layer, WeightSource& weights);

  void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const override;
  size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const override;
  size_t KernelScratchBytes(int64_t num_tokens) const override;

 private:
  static int32_t SharedDim(const ModelConfig& config) {
    return config.moe_intermediate_dim * config.num_shared_experts;
  }

  // Of each row: [rows * top_k].
  struct Choices {
    int32_t* ids;
    float* weights;
  };
  Choices Route(const LayerStep& step, const Mat& x) const;
  void ForwardSpread(const LayerStep& step, const Mat& x, const Mat& residual) const;
  // Rows that the kernels take at once, where the rank is given at most `num_tokens`.
  int64_t MaxExpertRows(int64_t num_tokens) const;

  const int32_t layer_;
  const RankShare share_;
  const ExpertPlacement blocks_;  // where the share has no placement
  const ExpertPlacement* const placement_;
  const int64_t hidden_dim_;
  const int64_t intermediate_dim_;  // of an expert, this rank's part of it
  RouterShape router_;
  std::unique_ptr<PackedMat> gate_;   // [num_experts, hidden_dim]
  std::vector<float> score_bias_;     // [num_experts]; empty: none
  ExpertWeights experts_;             // those that the rank holds
  std::unique_ptr<DenseMlp> shared_;  // null: none
};

}  // namespace penstock
