// Storing of keys and values by CpuKernels, and what is done to them on the way: tokens are cut into runs of
// at most 16, which lie together in a block and share no cache line of it with another run.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/kv_layout.h"

namespace penstock {
namespace {

constexpr int32_t kRunTokens = 16;  // 64 bytes of a row of keys; divides every block size

void CheckShapes(const ConstMat& k, const ConstMat& v, const GqaShape& shape, const KvLayerView& cache) {
  CHECK_EQ(k.cols, int64_t{shape.num_kv_heads} * shape.head_dim);
  CHECK_EQ(v.cols, k.cols);
  CHECK(k.dtype == v.dtype);
  CHECK_EQ(shape.head_dim % kDimGrain, 0);
  CHECK_EQ(cache.block_size % kRunTokens, 0);
  CHECK(cache.dtype != DType::kI8 || shape.head_dim <= kMaxByteHeadDim) << shape.head_dim;
}

// Whether tiles can be had at all: elements of 32-bit words, and no conversion but to bytes.
bool HasTiles(const ConstMat& k, const ConstMat& v, const KvLayerView& cache) {
  return (k.dtype == cache.dtype || cache.dtype == DType::kI8) && k.stride % 2 == 0 && v.stride % 2 == 0 &&
         (k.dtype == DType::kF32 || k.dtype == DType::kBF16);
}

GqaTile StoreTile(const Mat& k, const ConstMat& v, const GqaShape& shape, const KvLayerView& cache) {
  GqaTile tile;
  tile.k = {k.data, k.stride};
  tile.v = {v.data, v.stride};
  tile.dtype = k.dtype;
  tile.bytes = cache.dtype == DType::kI8;
  tile.num_heads = shape.num_heads;
  tile.num_kv_heads = shape.num_kv_heads;
  tile.head_dim = shape.head_dim;
  tile.head_bytes = GqaHeadBytes(shape, cache.block_size, cache.dtype);
  tile.block_size = cache.block_size;
  return tile;
}

void* AtRow(void* data, int64_t row, int64_t stride, DType dtype) {
  return data == nullptr ? nullptr : static_cast<std::byte*>(data) + row * stride * DTypeBytes(dtype);
}

}  // namespace

void CpuKernels::RunGqaTiles(GqaTile tile, std::span<const SeqSpan> spans, const KvLayerView& cache) {
  gqa_runs_.clear();
  for (const SeqSpan& span : spans) {
    for (int32_t begin = 0, end; begin < span.len; begin = end) {
      end = std::min(span.len, begin + kRunTokens - (span.pos + begin) % kRunTokens);
      gqa_runs_.push_back({&span, begin, end});
    }
  }
  const auto body = [&](int64_t first, int64_t last) {
    GqaTile run = tile;
    for (int64_t i = first; i < last; ++i) {
      const auto& [span, begin, end] = gqa_runs_[i];
      const int64_t row = span->row + begin;
      const int32_t pos = span->pos + begin, block = span->block_ids[pos / cache.block_size];
      CHECK(block >= 0 && block < cache.num_blocks) << block;
      run.q.data = AtRow(tile.q.data, row, tile.q.stride, tile.dtype);
      run.k.data = AtRow(tile.k.data, row, tile.k.stride, tile.dtype);
      run.v.data = AtRow(const_cast<void*>(tile.v.data), row, tile.v.stride, tile.dtype);
      run.positions = tile.positions + row;
      run.num_tokens = end - begin;
      run.block = cache.data + block * cache.block_bytes;
      run.at = pos % cache.block_size;
      ops_.gqa_tile(run);
    }
  };
  team_.ParallelFor(static_cast<int64_t>(gqa_runs_.size()), /*grain=*/1, body);
}

void CpuKernels::GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                          const KvLayerView& cache) {
  CheckShapes(k, v, shape, cache);
  CHECK_GE(cache.block_bytes, GqaBlockBytes(shape, cache.block_size, cache.dtype));
  if (!HasTiles(k, v, cache)) return attention_.GqaStore(k, v, spans, shape, cache);
  const Mat unchanged(const_cast<void*>(k.data), k.dtype, k.rows, k.cols, k.stride);
  RunGqaTiles(StoreTile(unchanged, v, shape, cache), spans, cache);
}

void CpuKernels::GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how,
                                  std::span<const SeqSpan> spans, const GqaShape& shape,
                                  const KvLayerView& cache) {
  const RopeTable& rope = *how.rope;
  const bool whole_heads = how.style == RopeStyle::kHalf && rope.dim == shape.head_dim;
  if (!whole_heads || q.dtype != k.dtype || !HasTiles(k, v, cache)) {
    return Kernels::GqaNormRopeStore(q, k, v, how, spans, shape, cache);
  }
  CheckShapes(k, v, shape, cache);
  CHECK_GE(cache.block_bytes, GqaBlockBytes(shape, cache.block_size, cache.dtype));
  CHECK_EQ(q.cols, int64_t{shape.num_heads} * shape.head_dim);
  CHECK_EQ(static_cast<int64_t>(how.positions.size()), k.rows);
  for (const int32_t pos : how.positions) CHECK(pos >= 0 && pos < rope.max_positions) << pos;
  GqaTile tile = StoreTile(k, v, shape, cache);
  tile.q = {q.data, q.stride};
  tile.q_norm = how.q_norm;
  tile.k_norm = how.k_norm;
  tile.eps = how.eps;
  tile.positions = how.positions.data();
  tile.cos = rope.cos.data();
  tile.sin = rope.sin.data();
  RunGqaTiles(tile, spans, cache);
}

}  // namespace penstock
