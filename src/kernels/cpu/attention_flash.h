// FlashAttention over one tile of keys: scores, online softmax, weighted sum of values, with the state of
// every row (maximum, sum, sums of values) carried from tile to tile.
//
//               keys of the tile
//          +-----------------------+   Rows are (query, head) pairs in order of the query, so that what a
//   rows   | . . . . . . . .\      |   row sees grows with its number. Products skip the register tiles
//          | . . . . . . . . . .\  |   above the diagonal; softmax stops at it and writes zeros behind.
//          +-----------------------+
//
// The maximum of a row is only a reference point: it is moved, and the row's sums rescaled, when scores
// outgrow it by 2^8, which after the first tiles hardly happens (fp32 has room for it, and the ratio of sums
// does not change). So nothing is summed up, or maximised, over the lanes of a vector but when it is moved.
//
// For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kNothingSeen = -1e30f;  // the maximum of a row that has seen no key: below any score
constexpr float kMaxGrowth = 8.0f;      // in powers of two

// The state of some rows.
struct FlashState {
  float* max = nullptr;  // [rows], of score * scale * log2(e)
  float* sum = nullptr;  // [rows][kSumLanes], of 2^(score - max)
  float* acc = nullptr;  // [rows][value_dim]
  int64_t value_dim = 0;

  void Clear(int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r) max[r] = kNothingSeen;
    std::memset(sum, 0, rows * kSumLanes * sizeof(float));
    std::memset(acc, 0, rows * value_dim * sizeof(float));
  }
  FlashState From(int64_t row) const {
    return {max + row, sum + row * kSumLanes, acc + row * value_dim, value_dim};
  }
  template <class S>
  typename S::Vec Sum(int64_t row) const {
    return S::Load(sum + row * kSumLanes);
  }
};

// Which keys of a tile rows see: row r of the tile is row first_row + r of the span, a row of query
// (first_row + r) / group.
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

// The largest of the first `visible` scores, lane by lane.
template <class S>
PENSTOCK_INLINE typename S::Vec MaxOfRow(const float* scores, int64_t visible) {
  constexpr int kLanes = S::kLanes;
  const typename S::Vec lowest = S::Set(kNothingSeen);
  typename S::Vec max0 = lowest, max1 = lowest;
  int64_t j = 0;
  for (; j + 2 * kLanes <= visible; j += 2 * kLanes) {
    max0 = S::Max(max0, S::Load(scores + j));
    max1 = S::Max(max1, S::Load(scores + j + kLanes));
  }
  for (; j < visible; j += kLanes) {
    const int valid = static_cast<int>(visible - j < kLanes ? visible - j : kLanes);
    max0 = S::Max(max0, S::First(S::Load(scores + j), valid, lowest));
  }
  return S::Max(max0, max1);
}

// Scores of one row to probabilities 2^(score * scale - reference), in place (as elements of W); their sum,
// lane by lane. Columns [visible, padded) become 0.
template <class W>
PENSTOCK_INLINE typename W::Simd::Vec ExponentiateRow(float* scores, int64_t visible, int64_t padded,
                                                      float scale_log2, float row_max) {
  using S = typename W::Simd;
  using Vec = typename S::Vec;
  constexpr int kLanes = S::kLanes;
  auto* probabilities = reinterpret_cast<typename W::Element*>(scores);
  const Vec scale = S::Set(scale_log2), reference = S::Set(row_max);
  Vec sum0 = S::Zero(), sum1 = S::Zero();
  int64_t j = 0;
  for (; j + 2 * kLanes <= visible; j += 2 * kLanes) {
    const Vec p0 = W::Exp2(S::MulSub(S::Load(scores + j), scale, reference));
    const Vec p1 = W::Exp2(S::MulSub(S::Load(scores + j + kLanes), scale, reference));
    sum0 = S::Add(sum0, p0);
    sum1 = S::Add(sum1, p1);
    W::StoreElements(probabilities + j, p0);
    W::StoreElements(probabilities + j + kLanes, p1);
  }
  for (; j < visible; j += kLanes) {
    const int valid = static_cast<int>(visible - j < kLanes ? visible - j : kLanes);
    const Vec score = S::First(S::Load(scores + j), valid, S::Zero());
    const Vec p = S::First(W::Exp2(S::MulSub(score, scale, reference)), valid, S::Zero());
    sum0 = S::Add(sum0, p);
    W::StoreElements(probabilities + j, p);
  }
  for (; j < padded; j += kLanes) W::StoreElements(probabilities + j, S::Zero());
  return S::Add(sum0, sum1);
}

// Moves the reference of a row to `max` and rescales its sums.
template <class S>
[[gnu::noinline]] static void MoveReference(float max, int64_t row, const FlashState& state) {
  const typename S::Vec correction = S::Exp2(S::Set(state.max[row] - max));
  float* acc = state.acc + row * state.value_dim;
  for (int64_t d = 0; d < state.value_dim; d += S::kLanes)
    S::Store(acc + d, S::Mul(S::Load(acc + d), correction));
  S::Store(state.sum + row * kSumLanes, S::Mul(state.Sum<S>(row), correction));
  state.max[row] = max;
}

// Softmax of all rows of a tile; the scores of row r begin at r * lds.
template <class W>
static void SoftmaxTile(float* scores, int64_t lds, int64_t num_rows, const Causality& seen, float scale_log2,
                        const FlashState& state) {
  using S = typename W::Simd;
  const int64_t padded = PadTo16(seen.num_keys);
  const bool see_all = seen.Visible(0) == seen.num_keys;
  const float scores_per_log2 = 1.0f / scale_log2;
  for (int64_t r = 0; r < num_rows; ++r, scores += lds) {
    const int64_t visible = see_all ? seen.num_keys : seen.Visible(r);
    if (visible == 0) {
      std::memset(scores, 0, padded * sizeof(typename W::Element));
      continue;
    }
    const typename S::Vec max = MaxOfRow<S>(scores, visible);
    if (S::AnyAbove(max, S::Set((state.max[r] + kMaxGrowth) * scores_per_log2)))
      MoveReference<S>(S::ReduceMax(max) * scale_log2, r, state);
    const typename S::Vec sum = ExponentiateRow<W>(scores, visible, padded, scale_log2, state.max[r]);
    S::Store(state.sum + r * kSumLanes, S::Add(state.Sum<S>(r), sum));
  }
}

// One tile of keys for some rows. q: [num_rows][ldq]; scores: scratch [num_rows][lds], lds a multiple of 16.
template <class W>
static void FlashTile(const typename W::Element* q, int64_t ldq, int64_t num_rows, const KeyTile<W>& tile,
                      const Causality& seen, float scale_log2, float* scores, int64_t lds,
                      const FlashState& state, BlockPrefetcher& ahead) {
  using S = typename W::Simd;
  using Rows = PieceRows<typename W::Word>;
  constexpr int64_t kTileRows = S::kTileRows;
  if (seen.Visible(num_rows - 1) == 0) return;
  auto rows_at = [&](int64_t r) {
    return static_cast<int>(num_rows - r < kTileRows ? num_rows - r : kTileRows);
  };
  for (int64_t row = 0; row < tile.key_depth; row += kPanelRows<W>) {
    const int64_t words = tile.key_depth - row < kPanelRows<W> ? tile.key_depth - row : kPanelRows<W>;
    for (int i = 0; i < tile.num_key_panels; ++i) {
      const auto& panel = tile.key_panels[i];
      const Rows keys{&panel.data, words, row * panel.stride, panel.stride};
      const int vecs = static_cast<int>(panel.width / S::kLanes);
      for (int64_t r = seen.FirstRowSeeing(panel.column) / kTileRows * kTileRows; r < num_rows;
           r += kTileRows) {
        AnyTile<WordStep<W>, kTileRows, S::kTileVecs>(rows_at(r), vecs, q + r * ldq + row * W::kPerWord, ldq,
                                                      keys, words, scores + r * lds + panel.column, lds,
                                                      row > 0);
        ahead.Step();
      }
    }
  }

  SoftmaxTile<W>(scores, lds, num_rows, seen, scale_log2, state);

  const auto* probabilities = reinterpret_cast<const typename W::Element*>(scores);
  const int64_t ldp = lds * static_cast<int64_t>(sizeof(float) / sizeof(typename W::Element));
  for (int64_t d = 0; d < state.value_dim; d += KeyTile<W>::kWidth) {
    const Rows values = tile.Values(d);
    const int vecs = static_cast<int>(values.stride / S::kLanes);
    for (int64_t r = 0; r < num_rows; r += kTileRows) {
      const int64_t words = (seen.Visible(r + rows_at(r) - 1) + W::kPerWord - 1) / W::kPerWord;
      if (words > 0) {
        AnyTile<WordStep<W>, kTileRows, S::kTileVecs>(rows_at(r), vecs, probabilities + r * ldp, ldp, values,
                                                      words, state.acc + r * state.value_dim + d,
                                                      state.value_dim, true);
      }
      ahead.Step();
    }
  }
}

// Divides by the sums and writes.
template <class S>
static void FinishRows(const FlashState& state, const ResultRows& rows) {
  for (int64_t r = 0; r < rows.num_rows; ++r) {
    const int64_t row = rows.row_begin + r;
    const int64_t offset = row / rows.group * rows.out.stride + row % rows.group * rows.out.dim;
    WriteElements<S>(state.acc + r * state.value_dim, 1.0f / S::ReduceAdd(state.Sum<S>(r)), rows.out.data,
                     rows.out.dtype, offset, rows.out.dim);
  }
}

// The state whose floats (PartialFloats of them) begin at `floats`.
PENSTOCK_INLINE FlashState StateAt(float* floats, int64_t rows, int64_t value_dim) {
  float* sums = floats + rows * value_dim;
  return {sums + rows * kSumLanes, sums, floats, value_dim};
}

// The state of a task: in `partial` where the caller wants it, otherwise in scratch.
PENSTOCK_INLINE FlashState TakeState(ScratchPieces& scratch, float* partial, int32_t rows,
                                     int32_t value_dim) {
  return StateAt(partial ? partial : scratch.Take<float>(PartialFloats(rows, value_dim)), rows, value_dim);
}

}  // namespace
}  // namespace penstock
