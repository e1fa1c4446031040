// SPDX-License-Identifier: Apache-2.0
#include "model/block.h"

#include <cstring>

#include "base/checked_math.h"

namespace penstock {

Mat LayerStep::QueryRows(const Mat& x) const {
  if (!query_rows) return x;
  const Mat rows = workspace.Take(static_cast<int64_t>(query_rows->size()), x.cols, x.dtype);
  const size_t row_bytes = static_cast<size_t>(x.cols) * DTypeBytes(x.dtype);
  for (int64_t i = 0; i < rows.rows; ++i) std::memcpy(rows.RowPtr(i), x.RowPtr((*query_rows)[i]), row_bytes);
  return rows;
}

void LayerStep::GatheredProduct(const Mat& x, const PackedMat& w, const float* bias, const Mat& y) const {
  const int64_t quantized_cols = sharing.sequence_parallel ? kernels.QuantizedCols(w) : 0;
  if (quantized_cols == 0) {
    sharing.Gather(x);
    if (x.rows > 0) kernels.Linear(x, w, y, bias);
    return;
  }
  const Workspace::Scope scope(workspace);
  const Mat q = workspace.Take(x.rows, quantized_cols, DType::kI8);
  const Mat scales = workspace.Take(x.rows, 1, DType::kF32);
  const Mat kept = sharing.Kept(x);
  if (kept.rows > 0) kernels.Quantize(kept, w, sharing.Kept(q), sharing.Kept(scales).Row<float>(0));
  sharing.Gather(q);
  sharing.Gather(scales);
  if (x.rows > 0) kernels.LinearQuantized(q, scales.Row<float>(0), w, y, bias);
}

size_t LayerStep::GatheredProductBytes(const RankShare& share, int64_t rows, int64_t cols) {
  if (share.tp_size == 1) return 0;
  return Workspace::BytesFor(rows, RoundUp<int64_t>(cols, 64), DType::kI8) +
         Workspace::BytesFor(rows, 1, DType::kF32);
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
