// RowSharing: how the ranks of a tensor-parallel group come to the sum of what each of them has computed of a
// step, and who keeps which rows of it.
//
//   plain      every rank has all rows of the residual stream. A block's sum is reduced and scattered, and
//   the
//              rows are gathered again: 2 N (n-1)/n bytes sent by each of n ranks, N = rows * cols * bytes
//   sequence   every rank has its own rows of the residual stream, norms those, and gathers the normed ones
//              where a block first needs them all: N (n-1)/n to reduce, and what is gathered, which may be
//              narrower (after a low-rank projection) or of bytes (after quantisation)
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/communicator.h"
#include "kernels/kernels.h"
#include "model/rank_share.h"
#include "model/workspace.h"
#include "tensor/mat.h"

namespace penstock {

struct RowSharing {
  Communicator* tp = nullptr;  // null: one rank, for which all of this is nothing
  bool sequence_parallel = false;

  // The rows that this rank norms: all, or its own.
  Mat Kept(const Mat& rows) const;

  // Own rows of x are there; gets the others', where they are not. x: without gaps between rows.
  void Gather(const Mat& x) const;

  // residual += the ranks' partials, for the rows that this rank keeps. Both [rows, cols], without gaps.
  void AddSum(Kernels& kernels, Workspace& workspace, const Mat& partial, const Mat& residual) const;

  // What the sum of a step takes of the workspace, the partial included.
  static size_t WorkspaceBytes(const RankShare& share, int64_t rows, int64_t cols, DType dtype);
};

}  // namespace penstock
