// SPDX-License-Identifier: Apache-2.0
#include "model/dense_mlp.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace penstock {

void DenseMlp::Declare(const std::string& prefix, int64_t hidden_dim, int64_t intermediate_dim, int32_t layer,
                       TensorTable& table) {
  std::vector<TensorSpec> specs = {
      {prefix + "gate_proj.weight", {intermediate_dim, hidden_dim}, Shard::kColumn, Projection::kMlp},
      {prefix + "up_proj.weight", {intermediate_dim, hidden_dim}, Shard::kColumn, Projection::kMlp},
      {prefix + "down_proj.weight", {hidden_dim, intermediate_dim}, Shard::kRow, Projection::kMlp},
  };
  table.AddLayer(layer, std::move(specs));
}

DenseMlp::DenseMlp(const std::string& prefix, WeightSource& weights)
    : share_(weights.share()),
      hidden_dim_(weights.ColsOf(prefix + "gate_proj.weight")),
      intermediate_dim_(weights.RowsOf(prefix + "gate_proj.weight")),
      gate_up_(weights.Matrix({prefix + "gate_proj.weight", prefix + "up_proj.weight"})),
      down_(weights.Matrix({prefix + "down_proj.weight"})) {}

void DenseMlp::Forward(const LayerStep& step, const Mat& x, const Mat& residual) const {
  if (x.rows == 0) return;
  const Workspace::Scope scope(step.workspace);
  const Mat gate_up = step.workspace.Take(x.rows, 2 * intermediate_dim_, x.dtype);
  step.GatheredProduct(x, *gate_up_, /*bias=*/nullptr, gate_up);
  step.AddProduct(Inner(step, gate_up), *down_, /*bias=*/nullptr, residual);
}

void DenseMlp::AddPartial(const LayerStep& step, const Mat& x, const Mat& sum) const {
  if (x.rows == 0) return;
  const Workspace::Scope scope(step.workspace);
  const Mat gate_up = step.workspace.Take(x.rows, 2 * intermediate_dim_, x.dtype);
  step.kernels.Linear(x, *gate_up_, gate_up);
  step.kernels.Linear(Inner(step, gate_up), *down_, sum, /*bias=*/nullptr, /*accumulate=*/true);
}

Mat DenseMlp::Inner(const LayerStep& step, const Mat& gate_up) const {
  const Mat inner = step.workspace.Take(gate_up.rows, intermediate_dim_, gate_up.dtype);
  step.kernels.SiluMul(gate_up, inner);
  return inner;
}

size_t DenseMlp::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  const size_t after_first = Workspace::BytesFor(num_tokens, intermediate_dim_, dtype) +
                             RowSharing::WorkspaceBytes(share_, num_tokens, hidden_dim_, dtype);
  return Workspace::BytesFor(num_tokens, 2 * intermediate_dim_, dtype) +
         std::max(after_first, LayerStep::GatheredProductBytes(share_, num_tokens, hidden_dim_));
}

}  // namespace penstock
