// The product of a tile of bf16 activations with packed bf16 panels, by dot products of pairs; written once
// over a Dense type that has them.
//
// Activations are read where they are, each row by its pointer: they are needed so slowly (one line of each
// row for 16 steps) that any cache will do. A block of k is as long as a panel of it fits the second-level
// cache, so that most sums never leave the registers; what becomes of a sum (bias, y, the output type) is
// done there. Where k is longer, sums are kept from block to block: an element of y is always the sum, block
// by block in order, of sums that run over k in order.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/panel_prefetch.h"
#include "kernels/cpu/row_access.h"
#include "kernels/cpu/unroll.h"

namespace penstock {
namespace {

template <typename S>
struct DotGemm {
  using Vec = typename S::Vec;
  using Pairs = typename S::Pairs;
  static constexpr int kRows = S::kDotRows;
  static constexpr int kVecs = S::kDotVecs;
  static constexpr int kCols = kVecs * S::kLanes;
  static constexpr int64_t kBlockK = S::kDotBlockK;
  static_assert(S::kPanelCols == kCols && kBlockK % 2 == 0);

  // Some rows of the tile and one or two panels, for one block of k.
  struct Block {
    const GemmTile* tile;
    const Bf16* x[kRows];  // of each row, from the block's first k
    const uint32_t* words;
    int64_t panel_words;  // from panel to panel
    int64_t num_pairs;
    bool odd;     // one more number of k, whose pair is zero
    float* sums;  // where they are kept between blocks of k
    int64_t sums_stride;
    bool first, last;
    int64_t row;  // of the tile
    int64_t col;  // of the matrix
    PanelPrefetch prefetch;
  };

  // acc += act · weights for one pair of k. What there is less of is held in registers.
  template <int Rows, int Panels, typename LoadAct>
  [[gnu::always_inline]] static inline void Step(const LoadAct& load_act,
                                                 const uint32_t* const (&words)[Panels],
                                                 Vec (&acc)[Panels][Rows][kVecs]) {
    if constexpr (Rows < Panels * kVecs) {
      Pairs acts[Rows];
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) { acts[r] = load_act(r); });
      Unroll<Panels>([&](auto p) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          const Pairs weights = S::LoadWords(words[p] + v * S::kLanes);
          Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
            acc[p][r][v] = S::DotPairs(acts[r], weights, acc[p][r][v]);
          });
        });
      });
    } else {
      Pairs weights[Panels][kVecs];
      Unroll<Panels>([&](auto p) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          weights[p][v] = S::LoadWords(words[p] + v * S::kLanes);
        });
      });
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        const Pairs act = load_act(r);
        Unroll<Panels>([&](auto p) __attribute__((always_inline)) {
          Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
            acc[p][r][v] = S::DotPairs(act, weights[p][v], acc[p][r][v]);
          });
        });
      });
    }
  }

  template <int Rows, int Panels>
  [[gnu::noinline]] static void RegisterTile(const Block& block) {
    Vec acc[Panels][Rows][kVecs];
    const Bf16* x[Rows];
    const uint32_t* words[Panels];
    Unroll<Panels>([&](auto p) __attribute__((always_inline)) {
      words[p] = block.words + p * block.panel_words;
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) { acc[p][r][v] = S::Zero(); });
      });
    });
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) { x[r] = block.x[r]; });
    if (block.tile->y_rows != nullptr && block.last) {
      for (int r = 0; r < Rows; ++r) PrefetchScattered(*block.tile, block.row + r, block.col, Panels * kCols);
    }
    PanelPrefetch prefetch = block.prefetch;
    int64_t k = 0;
    const auto load_pair = [&](auto r) __attribute__((always_inline)) {
      uint32_t pair;
      __builtin_memcpy(&pair, x[r] + k, sizeof(pair));
      return S::SetWord(pair);
    };
    for (const int64_t end = 2 * block.num_pairs; k < end; k += 2) {
      prefetch.Step();
      Step<Rows, Panels>(load_pair, words, acc);
      Unroll<Panels>([&](auto p) __attribute__((always_inline)) { words[p] += kCols; });
    }
    if (block.odd) {
      const auto load_last = [&](auto r) __attribute__((always_inline)) { return S::SetWord(x[r][k].bits); };
      Step<Rows, Panels>(load_last, words, acc);
    }
    Unroll<Panels>([&](auto p) __attribute__((always_inline)) { End<Rows>(block, p, acc[p]); });
  }

  // What becomes of the sums of panel `panel` of the block.
  template <int Rows>
  [[gnu::always_inline]] static inline void End(const Block& block, int64_t panel, Vec (&acc)[Rows][kVecs]) {
    float* sums = block.sums + panel * kCols;
    const int64_t col = block.col + panel * kCols;
    if (!block.first) {
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          acc[r][v] = S::Add(S::Load(sums + r * block.sums_stride + v * S::kLanes), acc[r][v]);
        });
      });
    }
    const bool whole = col + kCols <= block.tile->w.n;
    if (!block.last || !whole) {
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          S::Store(sums + r * block.sums_stride + v * S::kLanes, acc[r][v]);
        });
      });
      if (block.last) FinishRagged(block, sums, col, Rows);
    } else if (block.tile->y_rows != nullptr) {
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        ScatterVecs<S, kVecs>(*block.tile, acc[r], block.row + r, col);
      });
    } else if (block.tile->y_dtype == DType::kF32) {
      Finish<Rows>(block, col, acc, static_cast<float*>(block.tile->y));
    } else {
      Finish<Rows>(block, col, acc, static_cast<Bf16*>(block.tile->y));
    }
  }

  template <int Rows, typename Y>
  [[gnu::always_inline]] static inline void Finish(const Block& block, int64_t col,
                                                   const Vec (&acc)[Rows][kVecs], Y* y) {
    const GemmTile& tile = *block.tile;
    const float* bias = tile.bias != nullptr ? tile.bias + col : nullptr;
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      Y* row = y + (block.row + r) * tile.y_stride + col;
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
        Vec result = acc[r][v];
        if (bias != nullptr) result = S::Add(result, S::Load(bias + v * S::kLanes));
        if (tile.accumulate) result = S::Add(result, LoadVec<S>(row + v * S::kLanes));
        StoreVec<S>(row + v * S::kLanes, result);
      });
    });
  }

  // The last panel of a matrix that does not fill it, from its kept sums.
  [[gnu::noinline]] static void FinishRagged(const Block& block, const float* sums, int64_t col,
                                             int64_t num_rows) {
    const GemmTile& tile = *block.tile;
    for (int64_t r = 0; r < num_rows; ++r)
      FinishTileRow<S>(tile, sums + r * block.sums_stride, block.row + r, col, tile.w.n - col);
  }

  // How many panels are computed at once for `rows` rows: eight sums hide the latency of an addition.
  static constexpr int PanelsFor(int rows) { return (8 + rows * kVecs - 1) / (rows * kVecs); }

  using TileFn = void (*)(const Block&);
  template <int... r>
  static TileFn TileFor(int64_t rows, bool one_panel, std::integer_sequence<int, r...>) {
    constexpr TileFn kOne[] = {&RegisterTile<r + 1, 1>...};
    constexpr TileFn kMany[] = {&RegisterTile<r + 1, PanelsFor(r + 1)>...};
    return (one_panel ? kOne : kMany)[rows - 1];
  }

  static size_t ScratchBytes(int64_t num_panels) {
    return sizeof(float) * S::kMaxTileRows * num_panels * kCols;
  }

  // All rows against `count` panels, from `panel` on, for the block of k from k_begin.
  static void Panels(Block& block, int64_t k_begin, int64_t panel, int64_t count, float* sums) {
    const GemmTile& tile = *block.tile;
    block.col = panel * kCols;
    block.words = static_cast<const uint32_t*>(tile.w.data) + panel * block.panel_words + k_begin / 2 * kCols;
    const void* next = block.words + count * block.panel_words;
    if (panel + count >= tile.panel_end) next = block.last ? tile.next_panel : nullptr;
    const int64_t bytes = block.num_pairs * kCols * static_cast<int64_t>(sizeof(uint32_t));
    const int64_t num_groups = (tile.num_rows + kRows - 1) / kRows;
    for (int64_t g = 0; g < num_groups; ++g) {  // of nearly equal size
      block.row = tile.num_rows * g / num_groups;
      const int64_t num_rows = tile.num_rows * (g + 1) / num_groups - block.row;
      for (int64_t r = 0; r < num_rows; ++r) {
        const int64_t row = tile.x_rows != nullptr ? tile.x_rows[block.row + r] : block.row + r;
        block.x[r] = static_cast<const Bf16*>(tile.x) + row * tile.x_stride + k_begin;
      }
      block.sums = sums + block.row * block.sums_stride + (panel - tile.panel_begin) * kCols;
      block.prefetch = PartOfNextPanel(block.words, next, bytes, block.num_pairs, g, num_groups);
      TileFor(num_rows, count == 1, std::make_integer_sequence<int, kRows>{})(block);
    }
  }

  static void Run(const GemmTile& tile) {
    Block block{};
    block.tile = &tile;
    block.panel_words = static_cast<int64_t>(tile.w.panel_bytes() / sizeof(uint32_t));
    block.sums_stride = (tile.panel_end - tile.panel_begin) * kCols;
    const int64_t at_once = tile.num_rows > kRows ? 1 : PanelsFor(static_cast<int>(tile.num_rows));
    for (int64_t k = 0; k < tile.w.k; k += kBlockK) {
      const int64_t len = tile.w.k - k < kBlockK ? tile.w.k - k : kBlockK;
      block.num_pairs = len / 2;
      block.odd = len % 2 != 0;
      block.first = k == 0;
      block.last = k + len == tile.w.k;
      for (int64_t panel = tile.panel_begin; panel < tile.panel_end;) {
        const int64_t count = panel + at_once <= tile.panel_end ? at_once : 1;
        Panels(block, k, panel, count, reinterpret_cast<float*>(tile.scratch));
        panel += count;
      }
    }
  }
};

}  // namespace
}  // namespace penstock
