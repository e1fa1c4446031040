// FlashAttention over one tile of keys: scores, online softmax, weighted sum of values, with the state of every row
// (maximum, sum, sums of values) carried from tile to tile.
//
//                 keys of the tile
//            ┌─────────────────────────┐        Rows are (query, head) pairs, in order of the query, so that what a
//   rows     │ . . . . . . . .\        │        row sees grows with its number. Products skip register tiles which
//            │ . . . . . . . . . .\    │        lie above the diagonal, softmax stops at it and writes zeros behind.
//            └─────────────────────────┘
//
// The maximum of a row is only a reference point: it is moved, and the row's sums rescaled, when scores outgrow it by
// 2^8, which after the first tiles hardly happens (fp32 has room for it, and the ratio of sums does not change).
// For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

constexpr float kNothingSeen = -1e30f;   // the maximum of a row that has seen no key: below any score
constexpr float kMaxGrowth = 8.0f;       // in powers of two

// The state of some rows.
struct FlashState {
  float* max = nullptr;  // [rows], of score * scale * log2(e)
  float* sum = nullptr;  // [rows], of 2^(score - max)
  float* acc = nullptr;  // [rows][value_dim]
  int64_t value_dim = 0;

  void Clear(int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r) max[r] = kNothingSeen;
    std::memset(sum, 0, rows * sizeof(float));
    std::memset(acc, 0, rows * value_dim * sizeof(float));
  }
  FlashState From(int64_t row) const { return {max + row, sum + row, acc + row * value_dim, value_dim}; }
};

// Which keys of a tile rows see: row r of the tile is row first_row + r of the span, a row of query (first_row + r) / group.
struct Causality {
  int64_t first_row = 0;
  int64_t group = 1;
  int64_t pos = 0;   // of query 0
  int64_t key0 = 0;  // position of the tile's first key
  int64_t num_keys = 0;

  // Keys of the tile that row r sees.
  int64_t Visible(int64_t r) const {
    const int64_t visible = pos + (first_row + r) / group + 1 - key0;
    return visible < 0 ? 0 : visible < num_keys ? visible : num_keys;
  }
  // The first row that sees key `key` of the tile.
  int64_t FirstRowSeeing(int64_t key) const {
    const int64_t row = (key0 + key - pos) * group - first_row;
    return row < 0 ? 0 : row;
  }
};

// Scores of one row to probabilities, in place (as elements of W). Columns [visible, padded) become 0.
template <class W>
PENSTOCK_INLINE void SoftmaxRow(float* scores, int64_t visible, int64_t padded, float scale_log2, float& row_max,
                                float& row_sum, float* acc, int64_t value_dim) {
  using S = typename W::Simd;
  using Vec = typename S::Vec;
  constexpr int kLanes = S::kLanes;
  auto* probabilities = reinterpret_cast<typename W::Element*>(scores);
  const int64_t whole = visible / kLanes * kLanes;
  const int tail = static_cast<int>(visible - whole);

  const Vec lowest = S::Set(kNothingSeen);
  Vec max0 = lowest, max1 = lowest;
  int64_t j = 0;
  for (; j + 2 * kLanes <= whole; j += 2 * kLanes) {
    max0 = S::Max(max0, S::Load(scores + j));
    max1 = S::Max(max1, S::Load(scores + j + kLanes));
  }
  if (j < whole) max0 = S::Max(max0, S::Load(scores + j));
  if (tail > 0) max1 = S::Max(max1, S::First(S::Load(scores + whole), tail, lowest));
  const float tile_max = S::ReduceMax(S::Max(max0, max1)) * scale_log2;

  if (tile_max > row_max + kMaxGrowth) {
    const Vec correction = S::Exp2(S::Set(row_max - tile_max));
    row_sum *= S::ReduceMax(correction);
    for (int64_t d = 0; d < value_dim; d += kLanes) S::Store(acc + d, S::Mul(S::Load(acc + d), correction));
    row_max = tile_max;
  }

  const Vec scale = S::Set(scale_log2), reference = S::Set(row_max);
  Vec sum0 = S::Zero(), sum1 = S::Zero();
  for (j = 0; j + 2 * kLanes <= whole; j += 2 * kLanes) {
    const Vec p0 = W::Exp2(S::MulSub(S::Load(scores + j), scale, reference));
    const Vec p1 = W::Exp2(S::MulSub(S::Load(scores + j + kLanes), scale, reference));
    sum0 = S::Add(sum0, p0);
    sum1 = S::Add(sum1, p1);
    W::StoreElements(probabilities + j, p0);
    W::StoreElements(probabilities + j + kLanes, p1);
  }
  for (; j < visible; j += kLanes) {
    const int valid = j < whole ? kLanes : tail;
    const Vec score = S::First(S::Load(scores + j), valid, S::Zero());
    const Vec p = S::First(W::Exp2(S::MulSub(score, scale, reference)), valid, S::Zero());
    sum0 = S::Add(sum0, p);
    W::StoreElements(probabilities + j, p);
  }
  for (; j < padded; j += kLanes) W::StoreElements(probabilities + j, S::Zero());
  row_sum += S::ReduceAdd(S::Add(sum0, sum1));
}

// Softmax of all rows of a tile; the scores of a row begin at r * lds.
template <class W>
static void SoftmaxTile(float* scores, int64_t lds, int64_t num_rows, const Causality& seen, float scale_log2,
                        const FlashState& state) {
  const int64_t padded = (seen.num_keys + 15) / 16 * 16;
  for (int64_t r = 0; r < num_rows; ++r) {
    const int64_t visible = seen.Visible(r);
    float* row = scores + r * lds;
    if (visible > 0) {
      SoftmaxRow<W>(row, visible, padded, scale_log2, state.max[r], state.sum[r], state.acc + r * state.value_dim,
                    state.value_dim);
    } else {
      std::memset(row, 0, padded * sizeof(typename W::Element));
    }
  }
}

// One tile of keys for all rows. q: [num_rows][ldq]; scores: scratch [num_rows][lds], lds >= the padded keys.
template <class W>
static void FlashTile(const typename W::Element* q, int64_t ldq, int64_t num_rows, const Panels<W>& keys,
                      const Panels<W>& values, const Causality& seen, float scale_log2, float* scores, int64_t lds,
                      const FlashState& state) {
  constexpr int64_t kTileRows = W::Simd::kTileRows;
  for (int64_t column = 0; column < keys.num_columns; column += Panels<W>::kWidth) {
    for (int64_t r = seen.FirstRowSeeing(column) / kTileRows * kTileRows; r < num_rows; r += kTileRows) {
      const int rows = static_cast<int>(num_rows - r < kTileRows ? num_rows - r : kTileRows);
      PanelTile<W>(q + r * ldq, ldq, rows, keys, 0, column, keys.depth, scores + r * lds + column, lds, false);
    }
  }

  SoftmaxTile<W>(scores, lds, num_rows, seen, scale_log2, state);

  const auto* probabilities = reinterpret_cast<const typename W::Element*>(scores);
  const int64_t ldp = lds * static_cast<int64_t>(sizeof(float) / sizeof(typename W::Element));
  for (int64_t column = 0; column < values.num_columns; column += Panels<W>::kWidth) {
    for (int64_t r = 0; r < num_rows; r += kTileRows) {
      const int rows = static_cast<int>(num_rows - r < kTileRows ? num_rows - r : kTileRows);
      const int64_t words = (seen.Visible(r + rows - 1) + W::kPerWord - 1) / W::kPerWord;
      if (words == 0) continue;
      PanelTile<W>(probabilities + r * ldp, ldp, rows, values, 0, column, words,
                   state.acc + r * state.value_dim + column, state.value_dim, true);
    }
  }
}

}  // namespace
}  // namespace penstock
