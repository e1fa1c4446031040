// FlashAttention over keys and values of 8 bits (kv_layout.h), multiplied as they are. For per-ISA sources
// with a dot product of bytes only; the others make floats of them (attention_decode_int8.h).
//
//   queries          s8, a scale for each row       scores  q · (k + 128) - 128 · sum of q, in 32 bits
//   probabilities    u8, a scale for each row and tile of keys: its largest is 255
//
// What is multiplied with a value's bytes is its probability times its scale. With y = log2 of that product,
//
//   y = score · (scales, log2 e) + log2(scale of the value)      u = 255 · 2^(y - max of the tile's y)
//
// so that the largest u is 255 where it matters most: a first token that takes most of the probability but
// has next to no value (an attention sink) does not push the others below the first of 255 steps. The sum of
// probabilities takes them before rounding, with the scale of the value divided out again.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/cpu/attention_flash.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/quantize_row.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

constexpr float kMaxByte = 255.0f;
constexpr float kMaxTileGrowth = 64.0f;  // as kMaxGrowth; sums of a tile are fp32 when they meet it
constexpr int64_t kSoftmaxRows = 16;     // whose scores are read twice while they are in the L1 cache

// The scales of a tile's keys and values.
struct TileScales {
  float* key;            // [key_tile]
  float* value_log2;     // [key_tile]
  float* value_inverse;  // [key_tile]; 0 behind the last key
};

template <class S>
static void ReadScales(const KeySource& source, int64_t head_dim, int64_t key0, int64_t num_keys,
                       const TileScales& to) {
  const int64_t block_size = source.cache.block_size;
  const size_t behind_bytes = head_dim * block_size;
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const float* key = BlockPart<float>(source, pos, source.key_offset + behind_bytes) + pos % block_size;
    const float* value = BlockPart<float>(source, pos, source.value_offset + behind_bytes) + pos % block_size;
    std::memcpy(to.key + pos - key0, key, count * sizeof(float));
    std::memcpy(to.value_log2 + pos - key0, value, count * sizeof(float));
  });
  for (int64_t i = 0; i < num_keys; i += S::kLanes) {
    const int valid = static_cast<int>(num_keys - i < S::kLanes ? num_keys - i : S::kLanes);
    const typename S::Vec log2 = S::First(S::Load(to.value_log2 + i), valid, S::Zero());
    S::Store(to.value_inverse + i, S::First(S::Exp2(S::Mul(log2, S::Set(-1.0f))), valid, S::Zero()));
  }
}

// What becomes of a row's products with keys.
struct ScoreScale {
  float scale;    // of its bytes, times the task's and log2 e
  int32_t start;  // -128 times the sum of its bytes
};

// y[M][NV vectors] of a register tile.
template <class S, int M, int NV>
[[gnu::noinline]] static void ScoreTile(const int8_t* q, int64_t ldq, const uint32_t* keys, int64_t stride,
                                        int64_t words, const ScoreScale* rows, const float* key_scale,
                                        const float* value_log2, float* y, int64_t ldy) {
  typename S::Ints acc[M * NV];
  Unroll<M * NV>([&](auto i) __attribute__((always_inline)) { acc[i] = S::SetInt(0); });
  for (int64_t k = 0; k < words; ++k, q += 4, keys += stride) {
    typename S::Ints columns[NV];
    Unroll<NV>([&](auto n)
                   __attribute__((always_inline)) { columns[n] = S::LoadWords(keys + n * S::kLanes); });
    Unroll<M>([&](auto m) __attribute__((always_inline)) {
      const auto row = S::BroadcastBytes(q + m * ldq);
      Unroll<NV>([&](auto n) __attribute__((always_inline)) {
        acc[m * NV + n] = S::DotBytes(columns[n], row, acc[m * NV + n]);
      });
    });
  }
  Unroll<NV>([&](auto n) __attribute__((always_inline)) {
    const auto scale = S::Load(key_scale + n * S::kLanes), log2 = S::Load(value_log2 + n * S::kLanes);
    Unroll<M>([&](auto m) __attribute__((always_inline)) {
      const auto product = S::ToFloats(S::AddInts(acc[m * NV + n], S::SetInt(rows[m].start)));
      S::Store(y + m * ldy + n * S::kLanes, S::MulAdd(product, S::Mul(scale, S::Set(rows[m].scale)), log2));
    });
  });
}

// acc[M][NV vectors] += factors[M] * (p · values).
template <class S, int M, int NV>
[[gnu::noinline]] static void ValueTile(const uint8_t* p, int64_t ldp, PieceRows<uint32_t> values,
                                        int64_t words, const float* factors, float* sums, int64_t ld) {
  typename S::Ints acc[M * NV];
  Unroll<M * NV>([&](auto i) __attribute__((always_inline)) { acc[i] = S::SetInt(0); });
  for (int64_t left = words; left > 0; left -= values.piece_rows, ++values.pieces) {
    const uint32_t* row = *values.pieces + values.offset;
    const int64_t rows = left < values.piece_rows ? left : values.piece_rows;
    for (int64_t k = 0; k < rows; ++k, p += 4, row += values.stride) {
      typename S::Ints columns[NV];
      Unroll<NV>([&](auto n)
                     __attribute__((always_inline)) { columns[n] = S::LoadWords(row + n * S::kLanes); });
      Unroll<M>([&](auto m) __attribute__((always_inline)) {
        const auto probabilities = S::BroadcastBytes(p + m * ldp);
        Unroll<NV>([&](auto n) __attribute__((always_inline)) {
          acc[m * NV + n] = S::DotBytes(probabilities, columns[n], acc[m * NV + n]);
        });
      });
    }
  }
  Unroll<M>([&](auto m) __attribute__((always_inline)) {
    const auto factor = S::Set(factors[m]);
    Unroll<NV>([&](auto n) __attribute__((always_inline)) {
      float* to = sums + m * ld + n * S::kLanes;
      S::Store(to, S::MulAdd(S::ToFloats(acc[m * NV + n]), factor, S::Load(to)));
    });
  });
}

// The instance of a tile for sizes known at run time.
template <class S>
struct ByteTiles {
  using Score = void (*)(const int8_t*, int64_t, const uint32_t*, int64_t, int64_t, const ScoreScale*,
                         const float*, const float*, float*, int64_t);
  using Value = void (*)(const uint8_t*, int64_t, PieceRows<uint32_t>, int64_t, const float*, float*,
                         int64_t);
  static constexpr int kSizes = S::kTileRows * S::kTileVecs;
  struct Table {
    Score score[kSizes];
    Value value[kSizes];
  };
  static constexpr Table kTable = []<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    return Table{{&ScoreTile<S, kIndex / S::kTileVecs + 1, kIndex % S::kTileVecs + 1>...},
                 {&ValueTile<S, kIndex / S::kTileVecs + 1, kIndex % S::kTileVecs + 1>...}};
  }(std::make_integer_sequence<int, kSizes>{});
  static constexpr int Index(int64_t rows, int64_t columns) {
    return static_cast<int>((rows - 1) * S::kTileVecs + columns / S::kLanes - 1);
  }
};

// y of one row to bytes, in place; the sum of probabilities, lane by lane, relative to 2^max. Columns
// [visible, padded) become 0.
template <class S>
PENSTOCK_INLINE typename S::Vec BytesOfRow(float* y, int64_t visible, int64_t padded, float max,
                                           const float* value_inverse) {
  using Vec = typename S::Vec;
  constexpr int kLanes = S::kLanes;
  auto* bytes = reinterpret_cast<uint8_t*>(y);
  const Vec reference = S::Set(max), most = S::Set(kMaxByte);
  Vec sum0 = S::Zero(), sum1 = S::Zero();
  int64_t j = 0;
  for (; j + 2 * kLanes <= visible; j += 2 * kLanes) {
    const Vec p0 = S::Exp2ForBytes(S::Sub(S::Load(y + j), reference));
    const Vec p1 = S::Exp2ForBytes(S::Sub(S::Load(y + j + kLanes), reference));
    sum0 = S::MulAdd(p0, S::Load(value_inverse + j), sum0);
    sum1 = S::MulAdd(p1, S::Load(value_inverse + j + kLanes), sum1);
    S::StoreBytes(bytes + j, p0, most);
    S::StoreBytes(bytes + j + kLanes, p1, most);
  }
  for (; j < visible; j += kLanes) {
    const int valid = static_cast<int>(visible - j < kLanes ? visible - j : kLanes);
    const Vec some = S::First(S::Load(y + j), valid, reference);
    const Vec p = S::First(S::Exp2ForBytes(S::Sub(some, reference)), valid, S::Zero());
    sum0 = S::MulAdd(p, S::Load(value_inverse + j), sum0);
    S::StoreBytes(bytes + j, p, most);
  }
  for (; j < padded; j += kLanes) S::StoreBytes(bytes + j, S::Zero(), most);
  return S::Add(sum0, sum1);
}

// Softmax of up to kSoftmaxRows rows of a tile. factors[r]: what the row's products with values are to be
// multiplied with.
template <class S>
static void SoftmaxBytes(float* y, int64_t ldy, int64_t num_rows, const Causality& seen,
                         const float* value_inverse, const FlashState& state, float* factors) {
  const int64_t padded = PadTo16(seen.num_keys);
  const bool see_all = seen.Visible(0) == seen.num_keys;
  float max[kSoftmaxRows] = {}, growth[kSoftmaxRows] = {};
  int64_t visible[kSoftmaxRows];
  for (int64_t r = 0; r < num_rows; ++r) {
    visible[r] = see_all ? seen.num_keys : seen.Visible(r);
    if (visible[r] == 0) continue;
    max[r] = S::ReduceMax(MaxOfRow<S>(y + r * ldy, visible[r]));
    if (max[r] > state.max[r] + kMaxTileGrowth) MoveReference<S>(max[r], r, state);
    growth[r] = max[r] - state.max[r];
  }
  for (int64_t r = 0; r < kSoftmaxRows; r += S::kLanes) S::Store(growth + r, S::Exp2(S::Load(growth + r)));
  for (int64_t r = 0; r < num_rows; ++r) {
    factors[r] = growth[r] / kMaxByte;
    const auto sum = BytesOfRow<S>(y + r * ldy, visible[r], padded, max[r], value_inverse);
    S::Store(state.sum + r * kSumLanes, S::MulAdd(sum, S::Set(growth[r]), state.Sum<S>(r)));
  }
}

template <class S>
struct ByteScratch {
  ScratchPieces pieces;
  int8_t* q;         // [rows][key_dim]
  ScoreScale* rows;  // [rows]
  FlashState state;
  float* scores;   // [row_tile][key_tile]
  float* factors;  // [row_tile]
  TileScales scales;
  KeyTile<ByteWords<S>> tile;

  ByteScratch(const FlashTask& task, void* base)
      : pieces(base),
        q(pieces.Take<int8_t>(int64_t{task.row_end - task.row_begin} * task.key_dim)),
        rows(pieces.Take<ScoreScale>(task.row_end - task.row_begin)),
        state(TakeState(pieces, task.partial, task.row_end - task.row_begin, task.value_dim)),
        scores(pieces.Take<float>(int64_t{task.row_tile} * task.key_tile)),
        factors(pieces.Take<float>(task.row_tile + kSoftmaxRows)),
        scales{pieces.Take<float>(task.key_tile), pieces.Take<float>(task.key_tile),
               pieces.Take<float>(task.key_tile)},
        tile(pieces, task.key_dim, task.value_dim, task.key_tile) {}
};

// FlashTile in bytes: rows [begin, begin + num_rows) of the task's.
template <class S>
static void FlashByteTile(const FlashTask& task, int64_t begin, int64_t num_rows, const Causality& seen,
                          const ByteScratch<S>& scratch, BlockPrefetcher& ahead) {
  using Tiles = ByteTiles<S>;
  constexpr int64_t kTileRows = S::kTileRows;
  if (seen.Visible(num_rows - 1) == 0) return;
  const int64_t ld = task.key_tile, ldp = ld * static_cast<int64_t>(sizeof(float));
  const int8_t* q = scratch.q + begin * task.key_dim;
  const FlashState state = scratch.state.From(begin);
  auto rows_at = [&](int64_t r) { return num_rows - r < kTileRows ? num_rows - r : kTileRows; };
  for (int i = 0; i < scratch.tile.num_key_panels; ++i) {
    const auto& panel = scratch.tile.key_panels[i];
    for (int64_t r = seen.FirstRowSeeing(panel.column) / kTileRows * kTileRows; r < num_rows;
         r += kTileRows) {
      Tiles::kTable.score[Tiles::Index(rows_at(r), panel.width)](
          q + r * task.key_dim, task.key_dim, panel.data, panel.stride, scratch.tile.key_depth,
          scratch.rows + begin + r, scratch.scales.key + panel.column,
          scratch.scales.value_log2 + panel.column, scratch.scores + r * ld + panel.column, ld);
      ahead.Step();
    }
  }
  for (int64_t r = 0; r < num_rows; r += kSoftmaxRows) {
    Causality some = seen;
    some.first_row += r;
    SoftmaxBytes<S>(scratch.scores + r * ld, ld, num_rows - r < kSoftmaxRows ? num_rows - r : kSoftmaxRows,
                    some, scratch.scales.value_inverse, state.From(r), scratch.factors + r);
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(scratch.scores);
  for (int64_t d = 0; d < state.value_dim; d += KeyTile<ByteWords<S>>::kWidth) {
    const PieceRows<uint32_t> values = scratch.tile.Values(d);
    for (int64_t r = 0; r < num_rows; r += kTileRows) {
      const int64_t words = (seen.Visible(r + rows_at(r) - 1) + 3) / 4;
      Tiles::kTable.value[Tiles::Index(rows_at(r), values.stride)](
          bytes + r * ldp, ldp, values, words, scratch.factors + r, state.acc + r * state.value_dim + d,
          state.value_dim);
      ahead.Step();
    }
  }
}

template <class S>
static void RunByteFlash(const FlashTask& task, void* memory) {
  ByteScratch<S> scratch(task, memory);
  const int64_t num_rows = task.row_end - task.row_begin;
  for (int64_t r = 0; r < num_rows; ++r) {
    const int64_t row = task.row_begin + r;
    const int64_t offset = row / task.q.group * task.q.stride + row % task.q.group * task.key_dim;
    int8_t* q = scratch.q + r * task.key_dim;
    const float scale = QuantizeRow(task.q.data, task.q.dtype, offset, task.key_dim, q);
    int32_t sum = 0;
    for (int64_t i = 0; i < task.key_dim; ++i) sum += q[i];
    scratch.rows[r] = {scale * task.scale * kLog2E, -kKeyOffset * sum};
  }
  scratch.state.Clear(num_rows);

  const KeySource& source = task.keys;
  const int64_t block_size = source.cache.block_size;
  const int64_t block_bytes = (task.key_dim + task.value_dim + 2 * sizeof(float)) * block_size;
  const bool in_place = ReadsInPlace<ByteWords<S>, int8_t>(block_size, task.key_tile, num_rows <= kThinRows);
  const int64_t key_end = task.KeyEnd();
  for (int64_t key0 = task.key_begin; key0 < key_end; key0 += task.key_tile) {
    const int64_t num_keys = key_end - key0 < task.key_tile ? key_end - key0 : task.key_tile;
    const int64_t next = key0 + num_keys;
    if (in_place)
      LocatePagedTile(source, key0, num_keys, scratch.tile);
    else
      PackPagedTile<ByteWords<S>, int8_t>(source, key0, num_keys, scratch.tile);
    ReadScales<S>(source, task.key_dim, key0, num_keys, scratch.scales);
    BlockPrefetcher ahead(source, next, key_end - next < task.key_tile ? key_end : next + task.key_tile,
                          task.key_tile, block_bytes,
                          NumRegisterTiles<ByteWords<S>>(num_rows, num_keys, task.value_dim));
    for (int64_t r = 0; r < num_rows; r += task.row_tile) {
      const int64_t rows = num_rows - r < task.row_tile ? num_rows - r : task.row_tile;
      const Causality seen{task.row_begin + r, task.q.group, task.q.pos, key0, num_keys};
      FlashByteTile<S>(task, r, rows, seen, scratch, ahead);
    }
  }
  if (task.partial) return;
  FinishRows<S>(scratch.state, ResultOf(task));
}

template <class S>
static size_t ByteFlashScratchBytes(const FlashTask& task) {
  return ByteScratch<S>(task, nullptr).pieces.used();
}

}  // namespace
}  // namespace penstock
