// SPDX-License-Identifier: Apache-2.0
#include "comm/collectives.h"

#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr int64_t kSumBlock = 256;  // columns that are summed at a time, in a cache line's neighbourhood

size_t RowBytes(const Mat& mat) { return static_cast<size_t>(mat.cols) * DTypeBytes(mat.dtype); }

// Rows of `all` that are rank r's.
Mat RowsOf(const Mat& all, int size, int rank) {
  const int64_t begin = RowCut(all.rows, size, rank);
  return all.Rows(begin, RowCut(all.rows, size, rank + 1) - begin);
}

float Load(const float* row, int64_t i) { return row[i]; }
float Load(const Bf16* row, int64_t i) { return ToFloat(row[i]); }
void Store(float* row, int64_t i, float value) { row[i] = value; }
void Store(Bf16* row, int64_t i, float value) { row[i] = ToBf16(value); }

// own += parts[0] + parts[1] + …, rounded once.
template <typename Part, typename Own>
void SumRow(const std::vector<const void*>& parts, Own* own, int64_t cols) {
  float sums[kSumBlock];
  for (int64_t begin = 0; begin < cols; begin += kSumBlock) {
    const int64_t count = std::min(kSumBlock, cols - begin);
    for (int64_t i = 0; i < count; ++i) sums[i] = Load(own, begin + i);
    for (const void* part : parts) {
      const Part* row = static_cast<const Part*>(part) + begin;
      for (int64_t i = 0; i < count; ++i) sums[i] += Load(row, i);
    }
    for (int64_t i = 0; i < count; ++i) Store(own, begin + i, sums[i]);
  }
}

void SumRowAs(const std::vector<const void*>& parts, DType part_dtype, const Mat& own, int64_t row) {
  if (part_dtype == DType::kF32) {
    CHECK(own.dtype == DType::kF32);
    SumRow<float>(parts, own.Row<float>(row), own.cols);
  } else if (own.dtype == DType::kF32) {
    SumRow<Bf16>(parts, own.Row<float>(row), own.cols);
  } else {
    SumRow<Bf16>(parts, own.Row<Bf16>(row), own.cols);
  }
}

}  // namespace

Communicator::Ticket BeginAllGatherRows(Communicator& comm, const Mat& all) {
  CHECK_EQ(all.stride, all.cols) << "rows without gaps";
  std::vector<SendPart> sends;
  std::vector<RecvPart> recvs;
  const Mat own = RowsOf(all, comm.size(), comm.rank());
  for (int peer = 0; peer < comm.size(); ++peer) {
    if (peer == comm.rank()) continue;
    const Mat theirs = RowsOf(all, comm.size(), peer);
    sends.push_back({peer, own.data, RowBytes(all) * own.rows});
    recvs.push_back({peer, theirs.data, RowBytes(all) * theirs.rows});
  }
  return comm.Begin(sends, recvs);
}

void AllGatherRows(Communicator& comm, const Mat& all) { comm.Wait(BeginAllGatherRows(comm, all)); }

size_t ReduceScratchBytes(int64_t rows, int64_t cols, DType dtype, int size) {
  const int64_t most = CeilDiv<int64_t>(rows, size);
  return static_cast<size_t>(most * (size - 1) * cols) * DTypeBytes(dtype);
}

void ReduceScatterRows(Communicator& comm, const Mat& partial, std::byte* scratch, const Mat& own,
                       const RowLoop& rows) {
  CHECK_EQ(partial.stride, partial.cols) << "rows without gaps";
  const Mat mine = RowsOf(partial, comm.size(), comm.rank());
  CHECK_EQ(own.rows, mine.rows);
  CHECK_EQ(own.cols, partial.cols);
  const size_t row_bytes = RowBytes(partial);
  std::vector<SendPart> sends;
  std::vector<RecvPart> recvs;
  std::vector<const std::byte*> first_rows;  // of each rank's part, in the order of ranks
  for (int peer = 0; peer < comm.size(); ++peer) {
    if (peer == comm.rank()) {
      first_rows.push_back(static_cast<const std::byte*>(mine.data));
      continue;
    }
    const Mat theirs = RowsOf(partial, comm.size(), peer);
    sends.push_back({peer, theirs.data, row_bytes * theirs.rows});
    recvs.push_back({peer, scratch, row_bytes * mine.rows});
    first_rows.push_back(scratch);
    scratch += row_bytes * mine.rows;
  }
  comm.Exchange(sends, recvs);
  rows(own.rows, [&](int64_t begin, int64_t end) {
    std::vector<const void*> parts(first_rows.size());
    for (int64_t row = begin; row < end; ++row) {
      for (size_t i = 0; i < parts.size(); ++i) parts[i] = first_rows[i] + row * row_bytes;
      SumRowAs(parts, partial.dtype, own, row);
    }
  });
}

void Broadcast(Communicator& comm, int root, void* data, size_t bytes) {
  std::vector<SendPart> sends;
  std::vector<RecvPart> recvs;
  if (comm.rank() != root) {
    recvs.push_back({root, data, bytes});
  } else {
    for (int peer = 0; peer < comm.size(); ++peer) {
      if (peer != root) sends.push_back({peer, data, bytes});
    }
  }
  comm.Exchange(sends, recvs);
}

void AllGather(Communicator& comm, const void* own, size_t bytes, void* all) {
  auto* to = static_cast<std::byte*>(all);
  std::memcpy(to + comm.rank() * bytes, own, bytes);
  std::vector<SendPart> sends;
  std::vector<RecvPart> recvs;
  for (int peer = 0; peer < comm.size(); ++peer) {
    if (peer == comm.rank()) continue;
    sends.push_back({peer, to + comm.rank() * bytes, bytes});
    recvs.push_back({peer, to + peer * bytes, bytes});
  }
  comm.Exchange(sends, recvs);
}

}  // namespace penstock
