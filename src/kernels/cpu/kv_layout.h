// What is inside a block of the CPU's key/value cache. The same for all instruction sets, so that a cache
// written by one can be read by another.
//
// Grouped-query attention: for each kv head in turn, its keys and then its values.
//
//            keys                                   values, for each 64 dimensions (or what is left) in turn
//   bf16     [head_dim / 2][block_size][2]          [block_size / 2][64][2]
//   f32      [head_dim][block_size]                 [block_size][64]
//
// Both are "product operands": row k of the operand is summed over, and for bf16 two rows lie interleaved in
// 32-bit words. AVX512-BF16 multiplies such words where they lie (64 columns are what it multiplies with at
// once); the others make two fp32 vectors of one load by a shift and a mask, without any shuffle.
//
//   int8     [head_dim / 4][block_size][4]          [block_size / 4][64][4]
//            then f32 [block_size] scales           then f32 [block_size] scales
//
// An int8 key is stored as q + 128, unsigned, and with its scale; a value as q, and with the binary logarithm
// of its scale. The words are those of vpdpbusd, which multiplies unsigned with signed bytes: 128 times the
// sum of the query's bytes, the same for all keys, is what the offset adds. attention_int8.h says why the
// logarithm.
//
// Bf16 values come in words of two keys. A store of the first writes zeros for the second, so that a word in
// use never has half of it undefined: its probability of 0 would not silence a NaN there.
//
// Latent attention: [block_size][rank + rope] with kv_lora_rank and rope_dim each rounded up to a multiple of
// 16 and zeros there: row-major, because both of its uses (keys and values) are made from it tile by tile. Of
// int8, f32 [block_size][2] follow: the scales of the latent and of the rotated key.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked_math.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

namespace penstock {

constexpr int32_t kDimGrain = 16;  // dimensions are padded to this inside of the kernels

constexpr int kKeyOffset = 128;            // of int8 keys
constexpr int32_t kMaxByteHeadDim = 1024;  // of int8 caches

constexpr int32_t PadDim(int32_t dim) { return RoundUp(dim, kDimGrain); }

// Bytes of the keys (or the values) of one kv head in one block.
constexpr size_t GqaHeadBytes(const GqaShape& shape, int32_t block_size, DType dtype) {
  const size_t scale_bytes = dtype == DType::kI8 ? sizeof(float) : 0;
  return block_size * (shape.head_dim * DTypeBytes(dtype) + scale_bytes);
}
constexpr size_t GqaKeyOffset(const GqaShape& shape, int32_t block_size, DType dtype, int32_t kv_head) {
  return 2 * GqaHeadBytes(shape, block_size, dtype) * kv_head;
}
constexpr size_t GqaValueOffset(const GqaShape& shape, int32_t block_size, DType dtype, int32_t kv_head) {
  return GqaKeyOffset(shape, block_size, dtype, kv_head) + GqaHeadBytes(shape, block_size, dtype);
}

// Index of element (k, n) of a product operand with `columns` columns.
constexpr int64_t OperandIndex(DType dtype, int64_t k, int64_t n, int64_t columns) {
  const int64_t depth = 4 / static_cast<int64_t>(DTypeBytes(dtype));  // numbers in a word
  return (k / depth * columns + n) * depth + k % depth;
}

// Dimensions of a panel of values; the last may be narrower.
constexpr int64_t kValuePanel = 64;

constexpr int64_t ValuePanelWidth(int64_t dim, int64_t head_dim) {
  const int64_t left = head_dim - dim / kValuePanel * kValuePanel;
  return left < kValuePanel ? left : kValuePanel;
}

// Index of dimension `dim` of the value of token `token` of a block.
constexpr int64_t ValueIndex(DType dtype, int64_t token, int64_t dim, int64_t head_dim, int64_t block_size) {
  const int64_t panel = dim / kValuePanel * kValuePanel;
  return panel * block_size + OperandIndex(dtype, token, dim - panel, ValuePanelWidth(dim, head_dim));
}

// Elements of one token's latent in the cache.
constexpr int32_t LatentWidth(const MlaShape& shape) {
  return PadDim(shape.kv_lora_rank) + PadDim(shape.rope_dim);
}

constexpr size_t LatentBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) {
  const size_t scale_bytes = dtype == DType::kI8 ? 2 * sizeof(float) : 0;
  return block_size * (LatentWidth(shape) * DTypeBytes(dtype) + scale_bytes);
}

}  // namespace penstock
