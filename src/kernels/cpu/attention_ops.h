// AttentionOps: the inner parts of attention that are compiled once per instruction set. They work on one
// task in one thread and know neither threads nor allocation; attention.cc and mla.cc cut the work into tasks
// and own the memory.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "tensor/dtype.h"

namespace penstock {

// Where the keys and values of one sequence and kv head are.
struct KeySource {
  KvLayerView cache;
  const int32_t* block_ids = nullptr;
  size_t key_offset = 0;    // bytes, from the begin of a block
  size_t value_offset = 0;  // bytes; of latent caches both are 0
  int32_t latent_rank = 0;  // padded; of latent caches
};

// Rows of queries that share keys: row r is query r / group of the span, head r % group.
struct QueryRows {
  const void* data = nullptr;  // element [query][head][key_dim]: data + query * stride + head * key_dim
  DType dtype = DType::kF32;
  int64_t stride = 0;  // elements from a query to the next
  int32_t group = 1;
  int32_t pos = 0;  // of query 0
};

struct OutputRows {
  void* data = nullptr;  // element [query][head][dim]: data + query * stride + head * dim
  DType dtype = DType::kF32;
  int64_t stride = 0;
  int32_t dim = 0;  // numbers written of a row, at most value_dim
};

// Attention of rows [row_begin, row_end) over keys [key_begin, key_end) of one kv head, as far as causality
// lets each see. key_dim and value_dim are multiples of 16, key_begin of key_tile.
struct FlashTask {
  QueryRows q;
  OutputRows out;
  KeySource keys;
  int32_t key_dim = 0;
  int32_t value_dim = 0;
  float scale = 1.0f;
  int32_t row_begin = 0;
  int32_t row_end = 0;
  int32_t key_begin = 0;
  int32_t key_end = 0;
  int32_t key_tile = 0;      // keys handled at once: a multiple of 64
  int32_t row_tile = 0;      // rows handled at once
  float* partial = nullptr;  // not null: the unfinished state goes here instead of out, see PartialFloats

  // key_end, or behind the last key that a row sees.
  int64_t KeyEnd() const {
    const int64_t seen_by_last = q.pos + (row_end - 1) / q.group + 1;
    return seen_by_last < key_end ? seen_by_last : key_end;
  }
};

// A row's sum is kept as that many, one for each lane of a vector (or fewer, where vectors are shorter).
constexpr int64_t kSumLanes = 16;

// Floats of the state of a task's rows: for each row value_dim sums of values, its sum, and its maximum.
constexpr int64_t PartialFloats(int32_t num_rows, int32_t value_dim) {
  return int64_t{num_rows} * (value_dim + kSumLanes + 1);
}

// Where the rows of a state go: row r is row row_begin + r of the span.
struct ResultRows {
  OutputRows out;
  int32_t group = 1;
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  int32_t value_dim = 0;
};

// Latent attention in the expanded form: one head, all queries of a span.
struct MlaHeadTask {
  QueryRows q;  // group 1; the head's nope_dim numbers, then rope_dim
  OutputRows out;
  KeySource keys;
  MlaShape shape;
  const void* kv_b_t = nullptr;  // this head's expansion, a product operand [rank][PadDim(nope) + PadDim(v)]
  int32_t value_dim = 0;         // PadDim(v)
  int32_t num_queries = 0;
  int32_t key_begin = 0;
  int32_t key_end = 0;
  int32_t key_tile = 0;
  int32_t row_tile = 0;
  float* partial = nullptr;
};

inline ResultRows ResultOf(const FlashTask& task) {
  return {task.out, task.q.group, task.row_begin, task.row_end - task.row_begin, task.value_dim};
}
inline ResultRows ResultOf(const MlaHeadTask& task) {
  return {task.out, 1, 0, task.num_queries, task.value_dim};
}

// y[num_rows, n] = x[num_rows, k] · b, where b is a product operand [k][n] of the operation's type
// (kv_layout.h). k and n are multiples of 16; x has `x_cols` <= k real columns, y gets the first `y_cols` <=
// n. Row r is row x_rows[r] of x and row y_rows[r] of y; null: row r.
struct ProductTask {
  const void* x = nullptr;
  DType x_dtype = DType::kF32;
  int64_t x_stride = 0;
  const int32_t* x_rows = nullptr;
  int32_t x_cols = 0;
  void* y = nullptr;
  DType y_dtype = DType::kF32;
  int64_t y_stride = 0;
  const int32_t* y_rows = nullptr;
  int32_t y_cols = 0;
  const void* b = nullptr;
  int64_t b_stride = 0;  // columns of the operand of which b has n
  int32_t num_rows = 0;
  int32_t k = 0;
  int32_t n = 0;
};

// The operations for one type of cache (and of weights). Scratch is 64-byte aligned memory of one thread, of
// at least the bytes that the function of the same name says.
struct AttentionTypeOps {
  size_t (*flash_scratch_bytes)(const FlashTask& task) = nullptr;
  // Keys and values of grouped-query attention.
  void (*flash)(const FlashTask& task, void* scratch) = nullptr;
  // The same where keys and values are latents: key_dim = rank + rope, value_dim = rank.
  size_t (*flash_latent_scratch_bytes)(const FlashTask& task) = nullptr;
  void (*flash_latent)(const FlashTask& task, void* scratch) = nullptr;

  size_t (*mla_head_scratch_bytes)(const MlaHeadTask& task) = nullptr;
  void (*mla_head)(const MlaHeadTask& task, void* scratch) = nullptr;

  size_t (*product_scratch_bytes)(const ProductTask& task) = nullptr;
  void (*product)(const ProductTask& task, void* scratch) = nullptr;

  // Puts together `num_partials` states of the same rows over different keys, one behind the other, in place
  // of the first, and writes the result.
  void (*merge)(float* partials, int32_t num_partials, const ResultRows& rows) = nullptr;
};

struct AttentionOps {
  const char* name = nullptr;
  AttentionTypeOps f32;
  AttentionTypeOps bf16;
  AttentionTypeOps i8;  // weights, where there are any, are bf16

  // to[i] = round(x / scale) for elements [offset, offset + count) of a row of f32 or bf16; returns the
  // scale: the largest magnitude / 127.
  float (*quantize_row)(const void* row, DType dtype, int64_t offset, int64_t count, int8_t* to) = nullptr;
  // The same of a value; returns the binary logarithm of the scale.
  float (*quantize_value)(const void* row, DType dtype, int64_t offset, int64_t count, int8_t* to) = nullptr;

  const AttentionTypeOps& For(DType dtype) const {
    return dtype == DType::kF32 ? f32 : dtype == DType::kI8 ? i8 : bf16;
  }
};

const AttentionOps& GenericAttentionOps();
const AttentionOps& Avx2AttentionOps();
const AttentionOps& Avx512AttentionOps();
const AttentionOps& Avx512Bf16AttentionOps();

}  // namespace penstock
