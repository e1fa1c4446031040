// The product of a tile of activations with packed panels in fp32, written once over a Dense type
// (dense_simd_generic.h); and the choice among the kinds of product.
//
//          k block              column block: kGemmVecs vectors
//        ┌─────────┐              ┌──┬──┬──┬──┐ k block of the panels, widened in registers
//   rows │ x, made │              │  │  │  │  │
//        │ fp32    │              └──┴──┴──┴──┘
//        │         │ register     ┌──┐
//        │         │ tile →       │  │ sums: fp32, kept across the blocks of k
//        └─────────┘              └──┘
//
// For each block of k: the rows are copied, converted, into a buffer that stays in the second-level cache;
// each column block (first-level cache) meets all of them. An element of y is always the sum, block by block
// in order, of sums that run over k in order: it does not depend on which rows and columns are computed
// together.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dot_kernel.h"
#include "kernels/cpu/int8_kernel.h"
#include "kernels/cpu/panel_prefetch.h"
#include "kernels/cpu/row_access.h"
#include "kernels/cpu/unroll.h"

namespace penstock {
namespace {

// How one word of k holds weights: one number, or two in bf16.
struct F32Weights {
  using Weight = float;
  static constexpr int kPerWord = 1;
};
struct WidenedWeights {
  using Weight = uint32_t;
  static constexpr int kPerWord = 2;
};

template <typename S, typename Mode>
struct Gemm {
  using Vec = typename S::Vec;
  using Weight = typename Mode::Weight;
  static constexpr int kVecs = S::kGemmVecs;
  static constexpr int kRows = S::kGemmRows;
  static constexpr int kBlockCols = kVecs * S::kLanes;  // of a column block
  static constexpr int kBlocksPerPanel = S::kPanelCols / kBlockCols;
  static constexpr int kBlockK = S::kGemmBlockK;
  // Row stride of the activation buffer: a line more than a power of two, lest all rows meet in the same
  // cache set.
  static constexpr int kActStride = kBlockK + 64 / static_cast<int>(sizeof(float));
  static_assert(S::kPanelCols % kBlockCols == 0);

  // acc += x · w for all rows and column blocks, for one number of k. What there is less of, activations or
  // vectors of weights, is held in registers. x: row r at r * kActStride.
  template <int Rows, int Blocks, typename LoadAct, typename LoadWeights>
  [[gnu::always_inline]] static inline void Multiply(const LoadAct& load_act, const LoadWeights& load_weights,
                                                     Vec (&acc)[Blocks][Rows][kVecs]) {
    if constexpr (Rows < Blocks * kVecs) {
      Vec acts[Rows];
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) { acts[r] = load_act(r); });
      Unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          const Vec weights = load_weights(b, v);
          Unroll<Rows>([&](auto r)
                           __attribute__((always_inline)) { S::Accumulate(acc[b][r][v], acts[r], weights); });
        });
      });
    } else {
      Vec weights[Blocks][kVecs];
      Unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) { weights[b][v] = load_weights(b, v); });
      });
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        const Vec act = load_act(r);
        Unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
          Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
            S::Accumulate(acc[b][r][v], act, weights[b][v]);
          });
        });
      });
    }
  }

  // acc += x · w for one word of k, `offset` elements into each block.
  template <int Rows, int Blocks>
  [[gnu::always_inline]] static inline void Step(const float* x, const Weight* const* w, int64_t offset,
                                                 Vec (&acc)[Blocks][Rows][kVecs]) {
    const auto word = [&](int b, int v)
                          __attribute__((always_inline)) { return w[b] + offset + v * S::kLanes; };
    const auto act = [&](int r) __attribute__((always_inline)) { return S::Set(x[r * kActStride]); };
    if constexpr (Mode::kPerWord == 1) {
      const auto load = [&](int b, int v) __attribute__((always_inline)) { return S::Load(word(b, v)); };
      Multiply<Rows, Blocks>(act, load, acc);
    } else {
      const auto next_act = [&](int r)
                                __attribute__((always_inline)) { return S::Set(x[r * kActStride + 1]); };
      const auto low = [&](int b, int v) __attribute__((always_inline)) { return S::LoadLow(word(b, v)); };
      const auto high = [&](int b, int v) __attribute__((always_inline)) { return S::LoadHigh(word(b, v)); };
      Multiply<Rows, Blocks>(act, low, acc);
      Multiply<Rows, Blocks>(next_act, high, acc);
    }
  }

  // sums[row][column of the blocks] = (first ? 0 : itself) + x · w over `num_words` words of k.
  template <int Rows, int Blocks>
  [[gnu::noinline]] static void RegisterTile(const float* x, const Weight* const* w, int64_t num_words,
                                             float* sums, int64_t sums_stride, bool first,
                                             PanelPrefetch prefetch) {
    Vec acc[Blocks][Rows][kVecs];
    Unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        if constexpr (b == 0) __builtin_prefetch(sums + r * sums_stride, 1);
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) { acc[b][r][v] = S::Zero(); });
      });
    });
    const Weight* block[Blocks];
    for (int b = 0; b < Blocks; ++b) block[b] = w[b];
    for (int64_t i = 0; i < num_words; ++i) {
      prefetch.Step();
      Step<Rows, Blocks>(x + i * Mode::kPerWord, block, i * S::kPanelCols, acc);
    }
    Unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        float* out = sums + r * sums_stride + b * kBlockCols;
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          const Vec sum = first ? acc[b][r][v] : S::Add(S::Load(out + v * S::kLanes), acc[b][r][v]);
          S::Store(out + v * S::kLanes, sum);
        });
      });
    });
  }

  using TileFn = void (*)(const float*, const Weight* const*, int64_t, float*, int64_t, bool, PanelPrefetch);

  // How many column blocks are computed at once for `rows` rows: eight sums hide the latency of an addition.
  static constexpr int BlocksFor(int rows) { return (8 + rows * kVecs - 1) / (rows * kVecs); }
  template <int... r>
  static TileFn TileForRows(int rows, int blocks, std::integer_sequence<int, r...>) {
    TileFn fn = nullptr;
    (void)((rows == r + 1 &&
            (fn = blocks == 1 ? &RegisterTile<r + 1, 1> : &RegisterTile<r + 1, BlocksFor(r + 1)>)) ||
           ...);
    return fn;
  }
  static TileFn TileFor(int rows, int blocks) {
    return TileForRows(rows, blocks, std::make_integer_sequence<int, kRows>{});
  }

  static size_t ActBytes() { return sizeof(float) * S::kMaxTileRows * kActStride; }
  static size_t ScratchBytes(int64_t num_panels) {
    return ActBytes() + sizeof(float) * S::kMaxTileRows * num_panels * S::kPanelCols;
  }

  // Copies k in [begin, begin + len) of every row into the buffer; an odd k gets a zero.
  static void CopyActs(const GemmTile& tile, int64_t begin, int64_t len, float* acts) {
    const size_t x_bytes = tile.x_dtype == DType::kF32 ? 4 : 2;
    for (int64_t r = 0; r < tile.num_rows; ++r) {
      const int64_t row = tile.x_rows != nullptr ? tile.x_rows[r] : r;
      const char* src = static_cast<const char*>(tile.x) + (row * tile.x_stride + begin) * x_bytes;
      float* dst = acts + r * kActStride;
      if (tile.x_dtype == DType::kF32)
        ConvertRow<S>(reinterpret_cast<const float*>(src), dst, len);
      else
        ConvertRow<S>(reinterpret_cast<const Bf16*>(src), dst, len);
      if (len % Mode::kPerWord != 0) dst[len] = 0.0f;
    }
  }

  // All rows against column blocks [begin, begin + count) of the tile, for one block of k.
  static void ColumnBlocks(const GemmTile& tile, const float* acts, int64_t k_begin, int64_t num_words,
                           int64_t begin, int64_t count, float* sums, int64_t sums_stride) {
    const Weight* w[8];
    const size_t panel_words = tile.w.panel_bytes() / sizeof(Weight);
    for (int64_t b = 0; b < count; ++b) {
      const int64_t block = tile.panel_begin * kBlocksPerPanel + begin + b;
      w[b] = static_cast<const Weight*>(tile.w.data) + block / kBlocksPerPanel * panel_words +
             k_begin / Mode::kPerWord * S::kPanelCols + block % kBlocksPerPanel * kBlockCols;
    }
    // The weights that follow these, where a block is all of a panel's width.
    const int64_t last = (tile.panel_end - tile.panel_begin) * kBlocksPerPanel - count;
    const Weight* next = kBlocksPerPanel > 1 || begin >= last ? nullptr : w[count - 1] + panel_words;
    const int64_t bytes = num_words * kBlockCols * static_cast<int64_t>(sizeof(Weight));
    const int64_t num_groups = (tile.num_rows + kRows - 1) / kRows;
    for (int64_t g = 0; g < num_groups; ++g) {  // row groups of nearly equal size
      const int64_t row = tile.num_rows * g / num_groups, end = tile.num_rows * (g + 1) / num_groups;
      TileFor(static_cast<int>(end - row), static_cast<int>(count))(
          acts + row * kActStride, w, num_words, sums + row * sums_stride, sums_stride, k_begin == 0,
          PartOfNextPanel(w[0], next, bytes, num_words, g, num_groups));
    }
  }

  static void Finish(const GemmTile& tile, int64_t begin, int64_t count, const float* sums,
                     int64_t sums_stride) {
    const int64_t col = tile.panel_begin * S::kPanelCols + begin * kBlockCols;
    int64_t cols = tile.w.n - col;
    if (cols > count * kBlockCols) cols = count * kBlockCols;
    for (int64_t r = 0; r < tile.num_rows; ++r) FinishTileRow<S>(tile, sums + r * sums_stride, r, col, cols);
  }

  static void Run(const GemmTile& tile) {
    float* acts = reinterpret_cast<float*>(tile.scratch);
    float* sums = reinterpret_cast<float*>(tile.scratch + ActBytes());
    const int64_t num_blocks = (tile.panel_end - tile.panel_begin) * kBlocksPerPanel;
    const int64_t sums_stride = num_blocks * kBlockCols;
    const int at_once = tile.num_rows > kRows ? 1 : BlocksFor(static_cast<int>(tile.num_rows));
    for (int64_t k = 0; k < tile.w.k; k += kBlockK) {
      const int64_t len = tile.w.k - k < kBlockK ? tile.w.k - k : kBlockK;
      const int64_t num_words = (len + Mode::kPerWord - 1) / Mode::kPerWord;
      CopyActs(tile, k, len, acts);
      for (int64_t block = 0; block < num_blocks;) {
        const int64_t count = block + at_once <= num_blocks ? at_once : 1;
        float* block_sums = sums + block * kBlockCols;
        ColumnBlocks(tile, acts, k, num_words, block, count, block_sums, sums_stride);
        if (k + len == tile.w.k) Finish(tile, block, count, block_sums, sums_stride);
        block += count;
      }
    }
  }
};

template <typename S>
void RunGemm(const GemmTile& tile) {
  if (tile.w.dtype == DType::kI8) return Int8Gemm<S>::Run(tile);
  if (tile.w.dtype == DType::kF32) return Gemm<S, F32Weights>::Run(tile);
  if constexpr (S::kHasDot) {
    if (tile.x_dtype == DType::kBF16) return DotGemm<S>::Run(tile);
  }
  Gemm<S, WidenedWeights>::Run(tile);
}

template <typename S>
size_t GemmScratchBytes(int64_t num_panels) {
  // DotGemm needs no more than Gemm.
  const size_t floats = Gemm<S, F32Weights>::ScratchBytes(num_panels);
  const size_t ints = Int8Gemm<S>::ScratchBytes(num_panels);
  return floats > ints ? floats : ints;
}

}  // namespace
}  // namespace penstock
