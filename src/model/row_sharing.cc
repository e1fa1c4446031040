// SPDX-License-Identifier: Apache-2.0
#include "model/row_sharing.h"

#include "comm/collectives.h"

namespace penstock {

Mat RowSharing::Kept(const Mat& rows) const { return sequence_parallel ? OwnRows(rows, *tp) : rows; }

void RowSharing::Gather(const Mat& x) const {
  if (sequence_parallel) AllGatherRows(*tp, x);
}

void RowSharing::AddSum(Kernels& kernels, Workspace& workspace, const Mat& partial,
                        const Mat& residual) const {
  if (tp == nullptr) {
    kernels.Add(partial, residual);
    return;
  }
  const Workspace::Scope scope(workspace);
  const Mat scratch = workspace.Take(
      1, static_cast<int64_t>(ReduceScratchBytes(partial.rows, partial.cols, partial.dtype, tp->size())),
      DType::kI8);
  ReduceScatterRows(
      *tp, partial, static_cast<std::byte*>(scratch.data), OwnRows(residual, *tp),
      [&](int64_t count, FunctionRef<void(int64_t, int64_t)> body) { kernels.ParallelFor(count, body); });
  if (!sequence_parallel) AllGatherRows(*tp, residual);
}

size_t RowSharing::WorkspaceBytes(const RankShare& share, int64_t rows, int64_t cols, DType dtype) {
  if (share.tp_size == 1) return 0;
  return Workspace::BytesFor(rows, cols, dtype) +
         Workspace::BytesFor(1, static_cast<int64_t>(ReduceScratchBytes(rows, cols, dtype, share.tp_size)),
                             DType::kI8);
}

}  // namespace penstock
