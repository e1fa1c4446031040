// DenseMlp: down(silu(gate(x)) * up(x)).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "model/block.h"
#include "model/tensor_table.h"
#include "model/weight_source.h"

namespace penstock {

class DenseMlp : public Block {
 public:
  // `prefix` is where its three matrices are within the layer: "mlp.", "mlp.shared_experts.".
  static void Declare(const std::string& prefix, int64_t hidden_dim, int64_t intermediate_dim, int32_t layer,
                      TensorTable& table);
  DenseMlp(const std::string& prefix, WeightSource& weights);

  void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const override;
  // sum += this rank's part of f(x). All rows of x are there.
  void AddPartial(const LayerStep& step, const Mat& x, const Mat& sum) const;
  size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const override;

 private:
  // silu(gate) · up, in the workspace.
  Mat Inner(const LayerStep& step, const Mat& gate_up) const;

  const RankShare share_;
  const int64_t hidden_dim_;
  const int64_t intermediate_dim_;      // this rank's part of it
  std::unique_ptr<PackedMat> gate_up_;  // [2 * intermediate_dim, hidden_dim]
  std::unique_ptr<PackedMat> down_;     // [hidden_dim, intermediate_dim]
};

}  // namespace penstock
