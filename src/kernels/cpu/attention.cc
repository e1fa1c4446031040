// Grouped-query attention: storing into blocks, and cutting a batch into (span, kv head, tile of rows) tasks.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/kv_layout.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

// A row tile's queries, scores and sums should be in the nearer half of the L2 cache; a tile of keys serves
// some row tiles.
constexpr int64_t kRowTileBytes = 74 << 10;
constexpr int64_t kRowTilesPerTask = 12;
constexpr int64_t kRowGrain = 12;  // a multiple of the register tiles' rows
constexpr int32_t kMinPartKeys = 512;

// Keys handled at once: fewer where a key is long, more where it is short.
int32_t KeyTileFor(int32_t key_dim, DType dtype) {
  if (dtype == DType::kI8) return key_dim <= 128 ? 256 : 128;
  return key_dim <= 128 ? 128 : 64;
}

float ReadElement(float x) { return x; }
float ReadElement(Bf16 x) { return ToFloat(x); }
void WriteElement(float* to, float x) { *to = x; }
void WriteElement(Bf16* to, float x) { *to = ToBf16(x); }

template <typename From, typename To>
void CopyElement(From from, To* to) {
  if constexpr (std::is_same_v<From, To>)
    *to = from;
  else
    WriteElement(to, ReadElement(from));
}

// Calls body(From{}, To{}) with values of the element types.
template <typename Body>
void WithTypes(DType from, DType to, Body&& body) {
  CHECK(from == DType::kF32 || from == DType::kBF16) << DTypeName(from);
  CHECK(to == DType::kF32 || to == DType::kBF16) << DTypeName(to);
  if (from == DType::kF32 && to == DType::kF32)
    body(float{}, float{});
  else if (from == DType::kF32)
    body(float{}, Bf16{});
  else if (to == DType::kF32)
    body(Bf16{}, float{});
  else
    body(Bf16{}, Bf16{});
}

// The tokens of `span` for one kv head: block by block, and keys by dimension, so that writes are in order.
template <typename From, typename To>
void StoreHead(const ConstMat& k, const ConstMat& v, const SeqSpan& span, const GqaShape& shape,
               const KvLayerView& cache, int32_t kv_head) {
  constexpr DType kType = std::is_same_v<To, float> ? DType::kF32 : DType::kBF16;
  const int32_t dim = shape.head_dim, block_size = cache.block_size;
  for (int32_t done = 0, count; done < span.len; done += count) {
    const int32_t at = (span.pos + done) % block_size;
    count = std::min(span.len - done, block_size - at);
    const int32_t block = span.block_ids[(span.pos + done) / block_size];
    CHECK(block >= 0 && block < cache.num_blocks) << block;
    std::byte* data = cache.data + block * cache.block_bytes;
    To* keys = reinterpret_cast<To*>(data + GqaKeyOffset(shape, block_size, cache.dtype, kv_head));
    To* values = reinterpret_cast<To*>(data + GqaValueOffset(shape, block_size, cache.dtype, kv_head));

    const From* key = k.Row<From>(span.row + done) + int64_t{kv_head} * dim;
    constexpr int32_t kDepth = kType == DType::kF32 ? 1 : 2;  // dimensions in a word
    for (int32_t d = 0; d < dim; d += kDepth) {
      To* to = &keys[OperandIndex(kType, d, at, block_size)];
      for (int32_t t = 0; t < count; ++t) {
        for (int32_t i = 0; i < kDepth; ++i) CopyElement(key[t * k.stride + d + i], &to[t * kDepth + i]);
      }
    }
    for (int32_t t = 0; t < count; ++t) {
      const From* value = v.Row<From>(span.row + done + t) + int64_t{kv_head} * dim;
      for (int32_t d = 0; d < dim; ++d)
        CopyElement(value[d], &values[ValueIndex(kType, at + t, d, dim, block_size)]);
    }
    const int32_t end = at + count;
    if (std::is_same_v<To, Bf16> &&
        end % 2 == 1) {  // the other half of the last values' words: see kv_layout.h
      for (int32_t d = 0; d < dim; ++d) values[ValueIndex(kType, end, d, dim, block_size)] = To{};
    }
  }
}

// Where one kv head of the tokens of a block is, of an int8 cache.
struct ByteHead {
  uint8_t* keys;
  int8_t* values;
  float* key_scales;
  float* value_log2;

  ByteHead(const KvLayerView& cache, const GqaShape& shape, int32_t block, int32_t kv_head) {
    std::byte* data = cache.data + block * cache.block_bytes;
    const int64_t scales = int64_t{shape.head_dim} * cache.block_size;
    std::byte* key = data + GqaKeyOffset(shape, cache.block_size, cache.dtype, kv_head);
    std::byte* value = data + GqaValueOffset(shape, cache.block_size, cache.dtype, kv_head);
    keys = reinterpret_cast<uint8_t*>(key);
    values = reinterpret_cast<int8_t*>(value);
    key_scales = reinterpret_cast<float*>(key + scales);
    value_log2 = reinterpret_cast<float*>(value + scales);
  }
};

// The tokens of `span` for one kv head in bytes.
void StoreHeadBytes(const ConstMat& k, const ConstMat& v, const SeqSpan& span, const GqaShape& shape,
                    const KvLayerView& cache, int32_t kv_head, const AttentionOps& ops) {
  const int32_t dim = shape.head_dim, block_size = cache.block_size;
  std::array<int8_t, kMaxByteHeadDim> bytes;
  CHECK_LE(dim, kMaxByteHeadDim);
  for (int32_t i = 0; i < span.len; ++i) {
    const int32_t pos = span.pos + i, at = pos % block_size, block = span.block_ids[pos / block_size];
    CHECK(block >= 0 && block < cache.num_blocks) << block;
    const ByteHead head(cache, shape, block, kv_head);
    const int64_t column = int64_t{kv_head} * dim;
    head.key_scales[at] = ops.quantize_row(k.RowPtr(span.row + i), k.dtype, column, dim, bytes.data());
    for (int32_t d = 0; d < dim; ++d) {
      head.keys[OperandIndex(DType::kI8, d, at, block_size)] = static_cast<uint8_t>(bytes[d] + kKeyOffset);
    }
    head.value_log2[at] = ops.quantize_value(v.RowPtr(span.row + i), v.dtype, column, dim, bytes.data());
    for (int32_t d = 0; d < dim; ++d) {
      head.values[ValueIndex(DType::kI8, at, d, dim, block_size)] = bytes[d];
    }
  }
}

}  // namespace

CpuAttention::CpuAttention(const AttentionOps& ops, ThreadTeam& team)
    : ops_(ops), team_(team), thread_scratch_(team.size()) {}

size_t CpuAttention::GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const {
  return 2 * GqaHeadBytes(shape, block_size, dtype) * shape.num_kv_heads;
}

void CpuAttention::GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                            const KvLayerView& cache) {
  CHECK_EQ(k.cols, int64_t{shape.num_kv_heads} * shape.head_dim);
  CHECK_EQ(v.cols, k.cols);
  CHECK(k.dtype == v.dtype);
  CHECK_EQ(shape.head_dim % kDimGrain, 0);
  CHECK_EQ(cache.block_size % 16, 0);
  CHECK_GE(cache.block_bytes, GqaBlockBytes(shape, cache.block_size, cache.dtype));
  const int64_t num_spans = static_cast<int64_t>(spans.size());
  if (cache.dtype == DType::kI8) {
    team_.ParallelFor(num_spans * shape.num_kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        StoreHeadBytes(k, v, spans[i / shape.num_kv_heads], shape, cache,
                       static_cast<int32_t>(i % shape.num_kv_heads), ops_);
      }
    });
    return;
  }
  WithTypes(k.dtype, cache.dtype, [&](auto from, auto to) {
    team_.ParallelFor(num_spans * shape.num_kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        StoreHead<decltype(from), decltype(to)>(k, v, spans[i / shape.num_kv_heads], shape, cache,
                                                static_cast<int32_t>(i % shape.num_kv_heads));
      }
    });
  });
}

void CpuAttention::GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                                const KvLayerView& cache, Mat out) {
  CHECK_EQ(q.cols, int64_t{shape.num_heads} * shape.head_dim);
  CHECK_EQ(out.cols, q.cols);
  CHECK_EQ(shape.num_heads % shape.num_kv_heads, 0);
  CHECK_EQ(shape.head_dim % kDimGrain, 0);
  CHECK_EQ(cache.block_size % 16, 0);
  CHECK_GT(shape.scale, 0.0f);
  const int32_t group = shape.num_heads / shape.num_kv_heads;
  for (const SeqSpan& span : spans) {
    for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
      const int64_t first_column = int64_t{head} * group * shape.head_dim;
      FlashTask task;
      task.q = {q.Cols(first_column, 0).RowPtr(span.row), q.dtype, q.stride, group, span.pos};
      task.out = {out.Cols(first_column, 0).RowPtr(span.row), out.dtype, out.stride, shape.head_dim};
      task.keys = {cache, span.block_ids, GqaKeyOffset(shape, cache.block_size, cache.dtype, head),
                   GqaValueOffset(shape, cache.block_size, cache.dtype, head)};
      task.key_dim = task.value_dim = shape.head_dim;
      task.scale = shape.scale;
      task.row_end = span.len * group;
      PlanFlash(task);
    }
  }
  const AttentionTypeOps& ops = ops_.For(cache.dtype);
  flash_plan_.Run(team_, thread_scratch_, ops.flash, ops.flash_scratch_bytes, ops.merge);
}

void CpuAttention::PlanFlash(const FlashTask& task) {
  const int32_t key_tile = KeyTileFor(task.key_dim, task.keys.cache.dtype);
  const int64_t row_bytes = (int64_t{task.key_dim} + task.value_dim + key_tile) * sizeof(float);
  const int64_t row_tile = std::clamp<int64_t>(kRowTileBytes / row_bytes / kRowGrain * kRowGrain, 24, 192);
  const int64_t rows = task.row_end;
  const int64_t num_tasks = CeilDiv(rows, row_tile * kRowTilesPerTask);
  const int64_t task_rows = RoundUp(CeilDiv(rows, std::max<int64_t>(1, num_tasks)), kRowGrain);
  for (int64_t begin = 0; begin < rows; begin += task_rows) {
    FlashTask part = task;
    part.row_begin = static_cast<int32_t>(begin);
    part.row_end = static_cast<int32_t>(std::min(rows, begin + task_rows));
    part.key_end = task.q.pos + (part.row_end - 1) / task.q.group + 1;
    part.key_tile = key_tile;
    part.row_tile =
        static_cast<int32_t>(RoundUp(CeilDiv(task_rows, CeilDiv(task_rows, row_tile)), kRowGrain));
    const int64_t middle = (part.row_begin + part.row_end) / 2 / task.q.group;
    flash_plan_.Add(part, (part.row_end - part.row_begin) * (task.q.pos + middle + 1), kMinPartKeys);
  }
}

size_t CpuAttention::scratch_bytes() const {
  return thread_scratch_.bytes() + flash_plan_.bytes() + head_plan_.bytes() + latent_q_.size() +
         latent_out_.size();
}

}  // namespace penstock
