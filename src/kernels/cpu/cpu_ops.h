// CpuOps: the table of inner loops of one instruction set. One thread, raw pointers, no checks: threads,
// shapes and memory are the business of the callers (cpu_linear.cc, cpu_moe.cc, cpu_dense.cc).
//
// The functions of a table are compiled with that instruction set's flags. Nothing else may be in those
// sources: an inline function of the standard library compiled there could be linked in place of everybody's.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace penstock {

// A weight matrix [n, k] in panels of `panel_cols` output columns, for each panel all of k:
//   f32:   [panel][k_padded][panel_cols]             one number for each column
//   bf16:  [panel][k_padded / 2][panel_cols][2]      two neighbours in k for each column: one 32-bit word
//   int8:  [panel][k_padded / 4][panel_cols][4]      four neighbours
// Padding, in k and in the last panel, is zero. k_padded is a multiple of 32. For panels of 64 columns this
// is oneDNN's BA16a64b2a (int8: BA16a64b4a) as well.
//
// int8: with q the quantised rows of x as QuantizeRows leaves them, that is with 128 added,
//   y = (Σ q · w + col_offset) * col_scale * x_scale
// where col_offset takes the 128 out again: quant_bias - 128 * Σ w.
struct PanelMat {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t panel_cols = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t k_padded = 0;
  const int32_t* col_offset = nullptr;  // int8: [num_panels * panel_cols]
  const float* col_scale = nullptr;     // int8: the same

  size_t panel_bytes() const { return static_cast<size_t>(k_padded) * panel_cols * DTypeBytes(dtype); }
  const void* panel(int64_t index) const {
    return static_cast<const std::byte*>(data) + static_cast<size_t>(index) * panel_bytes();
  }
  int64_t num_panels() const { return (n + panel_cols - 1) / panel_cols; }
};

// y[rows, columns of the panels] = x · wᵀ (+ bias) (+ y): one thread's part of a product.
struct GemmTile {
  const void* x = nullptr;  // [.., k], f32 or bf16; where w is int8: of QuantizeRows
  DType x_dtype = DType::kF32;
  int64_t x_stride = 0;
  const int32_t* x_rows = nullptr;  // row r of the tile is row x_rows[r] of x; null: row r
  const float* x_scale = nullptr;   // w int8: of each row of x; null: 1
  int64_t num_rows = 0;             // <= max_tile_rows
  PanelMat w;
  int64_t panel_begin = 0;
  int64_t panel_end = 0;
  void* y = nullptr;  // row 0 of the tile, column 0 of the matrix; f32 or bf16
  DType y_dtype = DType::kF32;
  int64_t y_stride = 0;
  const float* bias = nullptr;  // [n] or null
  bool accumulate = false;
  // Not null: row r, times y_weights[r], is added to row y_rows[r] of y, which is f32 and starts at its row
  // 0; without bias, and `accumulate` does not count.
  const int32_t* y_rows = nullptr;
  const float* y_weights = nullptr;
  const void* next_panel = nullptr;  // of this thread's next product, to be fetched ahead; null: not known
  std::byte* scratch = nullptr;      // gemm_scratch_bytes(panel_end - panel_begin), 64-byte aligned
};

// One row of weights to pack: f32, f16 or bf16, or int8 as int8; null stands for zeros.
struct WeightRow {
  const void* data = nullptr;
  DType dtype = DType::kF32;
};

// What to make one panel of.
struct PackPanel {
  const WeightRow* rows = nullptr;  // [panel_cols]
  PanelMat w;                       // dtype, panel_cols, k and k_padded count
  void* dst = nullptr;              // the panel
  int32_t* row_sums = nullptr;      // int8: [panel_cols] becomes the sum of each row
};

// Rows of a matrix; `dtype` is that of the activations, f32 or bf16.
struct RowsView {
  void* data = nullptr;
  int64_t stride = 0;
};
struct ConstRowsView {
  const void* data = nullptr;
  int64_t stride = 0;
};

// Rows of x as 8-bit integers with 128 added.
//   dynamic (input_scale 0)   scale = max|row| / 127    q = 128 + round(row / scale)
//   static                    q = 128 + clamp(round(row / input_scale + input_offset), -128, 127)
// A row with nothing above kInt8Tiny has scale 0; one that is not finite has scale NaN.
struct QuantizeRows {
  ConstRowsView x;
  DType dtype = DType::kF32;
  int64_t num_rows = 0;
  int64_t num_cols = 0;
  float input_scale = 0;
  int32_t input_offset = 0;
  uint8_t* q = nullptr;  // [num_rows, q_stride]; up to 16 bytes beyond the row's end are overwritten
  int64_t q_stride = 0;
  float* scale = nullptr;  // [num_rows]; dynamic
};
constexpr float kInt8Tiny = 1e-30f;

struct RopeRows {
  RowsView x;
  DType dtype = DType::kF32;
  int64_t num_rows = 0;
  int32_t num_heads = 0;
  int32_t head_stride = 0;
  int32_t dim = 0;
  bool interleaved = false;
  const int32_t* positions = nullptr;  // [num_rows]
  const float* cos = nullptr;          // whole tables
  const float* sin = nullptr;
};

// Tokens of one sequence, neighbours in one block of the cache: their q and k normed and rotated in place
// (pairs (i, i + head_dim / 2)), then k and v stored (kv_layout.h).
struct GqaTile {
  RowsView q;  // data null: there is none to rotate
  RowsView k;  // strides are even
  ConstRowsView v;
  DType dtype = DType::kF32;  // of q, k and v, and of the cache unless that has bytes
  bool bytes = false;         // head_dim is at most kMaxByteHeadDim then
  int32_t num_tokens = 0;     // at most 16
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;           // a multiple of 16
  const float* q_norm = nullptr;  // [head_dim]; null: none
  const float* k_norm = nullptr;
  float eps = 0.0f;
  const int32_t* positions = nullptr;  // [num_tokens]
  const float* cos = nullptr;          // whole tables; null: nothing is normed or rotated
  const float* sin = nullptr;
  std::byte* block = nullptr;  // kv head by kv head, its keys and its values
  size_t head_bytes = 0;       // of the keys of a kv head, and of its values
  int32_t block_size = 0;
  int32_t at = 0;  // place of the first token in the block
};

struct CpuOps {
  // Preferred panel width, and the most rows of a GemmTile.
  int32_t panel_cols;
  int64_t max_tile_rows;
  int64_t tile_row_multiple;  // rows of a register tile
  size_t (*gemm_scratch_bytes)(int64_t num_panels);
  void (*gemm)(const GemmTile& tile);
  void (*pack_panel)(const PackPanel& panel);
  void (*quantize_rows)(const QuantizeRows& rows);

  // dst[0, count) = src, converted; src f32, f16 or bf16, dst f32 or bf16.
  void (*convert)(const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t count);
  // y[r] = norm(x[r]) * weight (+ bias where not null).
  void (*rms_norm)(ConstRowsView x, const float* weight, const float* bias, float eps, RowsView y,
                   DType dtype, int64_t num_rows, int64_t num_cols);
  void (*add)(ConstRowsView x, RowsView y, DType dtype, int64_t num_rows, int64_t num_cols);
  void (*rope)(const RopeRows& rows);
  void (*gqa_tile)(const GqaTile& tile);
  // y[r, i] = silu(x[r, i]) * x[r, num_cols + i].
  void (*silu_mul)(ConstRowsView x, RowsView y, DType dtype, int64_t num_rows, int64_t num_cols);
  // sum[i] += weight * x[i].
  void (*add_scaled)(const float* x, float weight, float* sum, int64_t count);
};

const CpuOps& GenericCpuOps();
const CpuOps& Avx2CpuOps();
const CpuOps& Avx512CpuOps();
const CpuOps& Avx512VnniCpuOps();
const CpuOps& Avx512Bf16CpuOps();  // and VNNI

}  // namespace penstock
