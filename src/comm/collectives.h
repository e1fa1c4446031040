// Collective operations on rows, made of exchanges.
//
// The rows of a step are cut among `size` ranks: rank r has rows [RowCut(rows, size, r), RowCut(rows, size, r
// + 1)), a difference of one row at most. With N bytes in all rows and n ranks, each rank sends
//
//   AllGatherRows       N / n · (n - 1)
//   ReduceScatterRows   N / n · (n - 1)
//
// which is as little as can be (Thakur, Rabenseifner, Gropp 2005), up to that one row. Sums are in fp32, in
// the order of the ranks: all ranks have the same result, and it does not depend on timing.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/function_ref.h"
#include "comm/communicator.h"
#include "tensor/mat.h"

namespace penstock {

inline int64_t RowCut(int64_t rows, int size, int rank) { return rows * rank / size; }

// The rank's own rows of `all`.
inline Mat OwnRows(const Mat& all, const Communicator& comm) {
  const int64_t begin = RowCut(all.rows, comm.size(), comm.rank());
  return all.Rows(begin, RowCut(all.rows, comm.size(), comm.rank() + 1) - begin);
}

// Own rows of `all` are there; gets the others'. all: contiguous rows (stride == cols).
void AllGatherRows(Communicator& comm, const Mat& all);

// The same, begun; `all` is as it was, and own rows are not written, until EndAllGather().
Communicator::Ticket BeginAllGatherRows(Communicator& comm, const Mat& all);

// Runs body(begin, end) over pieces of [0, count), perhaps on several threads (Kernels::ParallelFor).
using RowLoop = FunctionRef<void(int64_t count, FunctionRef<void(int64_t begin, int64_t end)> body)>;

// What ReduceScatterRows() takes of `scratch`: bytes.
size_t ReduceScratchBytes(int64_t rows, int64_t cols, DType dtype, int size);

// own += the sum over all ranks of their `partial`'s rows that are this rank's. partial: [rows, cols], f32 or
// bf16, contiguous; own: the rank's rows, of the same type or f32.
void ReduceScatterRows(Communicator& comm, const Mat& partial, std::byte* scratch, const Mat& own,
                       const RowLoop& rows);

// `data` of rank `root` on all ranks.
void Broadcast(Communicator& comm, int root, void* data, size_t bytes);

// Every rank's data one after the other: all[r * bytes] is rank r's. Own data is copied.
void AllGather(Communicator& comm, const void* own, size_t bytes, void* all);

}  // namespace penstock
