// SPDX-License-Identifier: Apache-2.0
#include "model/block.h"

#include <cstring>

namespace penstock {

Mat LayerStep::QueryRows(const Mat& x) const {
  if (!query_rows) return x;
  const Mat rows = workspace.Take(static_cast<int64_t>(query_rows->size()), x.cols, x.dtype);
  const size_t row_bytes = static_cast<size_t>(x.cols) * DTypeBytes(x.dtype);
  for (int64_t i = 0; i < rows.rows; ++i) std::memcpy(rows.RowPtr(i), x.RowPtr((*query_rows)[i]), row_bytes);
  return rows;
}

void LayerStep::AddProduct(ConstMat x, const PackedMat& w, const float* bias, const Mat& residual) const {
  if (x.rows == 0) return;
  if (sharing.tp == nullptr) {
    kernels.Linear(x, w, residual, bias, /*accumulate=*/true);
    return;
  }
  const Workspace::Scope scope(workspace);
  const Mat partial = workspace.Take(residual.rows, residual.cols, residual.dtype);
  kernels.Linear(x, w, partial, bias);
  sharing.AddSum(kernels, workspace, partial, residual);
}

}  // namespace penstock
