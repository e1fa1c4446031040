// Products in 8-bit integers, written once over a Dense type.
//
// As DotGemm (dot_kernel.h): a panel of weights at a time meets all rows of the tile, which are read where
// they are, or copied first where the processor has no dot product of bytes and wants pairs of 16 bits. A
// block of k is long, so that most sums never leave the registers; where k is longer, integers are kept from
// block to block. What becomes of a sum (offset, scales, bias, y, the output type) is done to the registers
// of the last block. Integer sums are exact, in any order.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/panel_prefetch.h"
#include "kernels/cpu/row_access.h"
#include "kernels/cpu/unroll.h"

namespace penstock {
namespace {

template <typename S>
struct Int8Gemm {
  using Vec = typename S::Vec;
  using Int = typename S::Int;
  static constexpr int kVecs = S::kInt8Vecs;
  static constexpr int kRows = S::kInt8Rows;
  static constexpr int kBlockCols = kVecs * S::kLanes;
  static constexpr int kBlocksPerPanel = S::kPanelCols / kBlockCols;
  static constexpr int kBlockK = S::kInt8BlockK;
  // As Gemm::kActStride.
  static constexpr int kActStride = kBlockK * S::kInt8ActBytes + 64;
  static_assert(S::kPanelCols % kBlockCols == 0 && kBlockK % 64 == 0);

  // One column block and some rows, for one block of k.
  struct Block {
    const GemmTile* tile;
    const uint8_t* acts[kRows];  // of each row
    const uint32_t* words;
    int64_t num_words;
    int32_t* sums;  // where they are kept between blocks of k
    int64_t sums_stride;
    bool first, last;
    int64_t row;  // of the tile
    int64_t col;  // of the matrix
    PanelPrefetch prefetch;
  };

  template <int Rows>
  [[gnu::noinline]] static void RegisterTile(const Block& block) {
    Int acc[Rows][kVecs];
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) { acc[r][v] = S::ZeroInt(); });
    });
    const uint8_t* acts[Rows];
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) { acts[r] = block.acts[r]; });
    if (block.tile->y_rows != nullptr && block.last) {
      for (int r = 0; r < Rows; ++r) PrefetchScattered(*block.tile, block.row + r, block.col, kBlockCols);
    }
    int64_t offset = 0;
    const uint32_t* words = block.words;
    PanelPrefetch prefetch = block.prefetch;
    for (int64_t i = block.num_words; i > 0; --i) {
      typename S::Int8Weights weights[kVecs];
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
        weights[v] = S::LoadInt8Weights(words + v * S::kLanes);
      });
      Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        const typename S::Int8Acts act = S::SetInt8Acts(acts[r] + offset);
        Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
          acc[r][v] = S::DotInt8(act, weights[v], acc[r][v]);
        });
      });
      prefetch.Step();
      offset += 4 * S::kInt8ActBytes;
      words += S::kPanelCols;
    }
    if (!block.first) AddSums<Rows>(block, acc);
    const bool whole = block.col + kBlockCols <= block.tile->w.n;
    if (!block.last || !whole)
      KeepSums<Rows>(block, acc);
    else if (block.tile->y_rows != nullptr)
      Scatter<Rows>(block, acc);
    else if (block.tile->y_dtype == DType::kF32)
      Finish<Rows>(block, acc, static_cast<float*>(block.tile->y));
    else
      Finish<Rows>(block, acc, static_cast<Bf16*>(block.tile->y));
    if (block.last && !whole) FinishRagged(block, Rows);
  }

  template <int Rows>
  [[gnu::always_inline]] static inline void AddSums(const Block& block, Int (&acc)[Rows][kVecs]) {
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
        acc[r][v] = S::AddInt(acc[r][v], S::LoadInt(block.sums + r * block.sums_stride + v * S::kLanes));
      });
    });
  }

  template <int Rows>
  [[gnu::always_inline]] static inline void KeepSums(const Block& block, const Int (&acc)[Rows][kVecs]) {
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
        S::StoreInt(block.sums + r * block.sums_stride + v * S::kLanes, acc[r][v]);
      });
    });
  }

  // Columns [v * kLanes, (v + 1) * kLanes) of the block.
  [[gnu::always_inline]] static inline Vec Value(const Block& block, Int sum, int64_t v, Vec row_scale) {
    const int64_t col = block.col + v * S::kLanes;
    const Vec value = S::IntToFloat(S::AddInt(sum, S::LoadInt(block.tile->w.col_offset + col)));
    return S::Mul(S::Mul(value, S::Load(block.tile->w.col_scale + col)), row_scale);
  }

  template <int Rows, typename Y>
  [[gnu::always_inline]] static inline void Finish(const Block& block, const Int (&acc)[Rows][kVecs], Y* y) {
    const GemmTile& tile = *block.tile;
    const float* bias = tile.bias != nullptr ? tile.bias + block.col : nullptr;
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      const Vec row_scale = S::Set(RowScale(tile, block.row + r));
      Y* row = y + (block.row + r) * tile.y_stride + block.col;
      Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
        Vec result = Value(block, acc[r][v], v, row_scale);
        if (bias != nullptr) result = S::Add(result, S::Load(bias + v * S::kLanes));
        if (tile.accumulate) result = S::Add(result, LoadVec<S>(row + v * S::kLanes));
        StoreVec<S>(row + v * S::kLanes, result);
      });
    });
  }

  template <int Rows>
  [[gnu::always_inline]] static inline void Scatter(const Block& block, const Int (&acc)[Rows][kVecs]) {
    Unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      const Vec row_scale = S::Set(RowScale(*block.tile, block.row + r));
      Vec values[kVecs];
      Unroll<kVecs>(
          [&](auto v) __attribute__((always_inline)) { values[v] = Value(block, acc[r][v], v, row_scale); });
      ScatterVecs<S, kVecs>(*block.tile, values, block.row + r, block.col);
    });
  }

  // The last block of a matrix that does not fill it, from its kept sums.
  [[gnu::noinline]] static void FinishRagged(const Block& block, int64_t num_rows) {
    const GemmTile& tile = *block.tile;
    for (int64_t r = 0; r < num_rows; ++r) {
      float values[kBlockCols];
      const Vec row_scale = S::Set(RowScale(tile, block.row + r));
      for (int64_t v = 0; v < kVecs; ++v) {
        const Int sum = S::LoadInt(block.sums + r * block.sums_stride + v * S::kLanes);
        S::Store(values + v * S::kLanes, Value(block, sum, v, row_scale));
      }
      FinishTileRow<S>(tile, values, block.row + r, block.col, tile.w.n - block.col);
    }
  }

  static float RowScale(const GemmTile& tile, int64_t row) {
    if (tile.x_scale == nullptr) return 1.0f;
    return tile.x_scale[tile.x_rows != nullptr ? tile.x_rows[row] : row];
  }

  using TileFn = void (*)(const Block&);
  template <int... r>
  static TileFn TileFor(int64_t rows, std::integer_sequence<int, r...>) {
    constexpr TileFn kTiles[] = {&RegisterTile<r + 1>...};
    return kTiles[rows - 1];
  }

  static size_t ActBytes() {
    return S::kCopiesInt8Acts ? static_cast<size_t>(S::kMaxTileRows) * kActStride : 0;
  }
  static size_t ScratchBytes(int64_t num_panels) {
    return ActBytes() + sizeof(int32_t) * S::kMaxTileRows * num_panels * S::kPanelCols;
  }

  // Row `row` of the tile, from number `begin` of k on.
  static const uint8_t* Acts(const GemmTile& tile, int64_t row, int64_t begin) {
    if (tile.x_rows != nullptr) row = tile.x_rows[row];
    return static_cast<const uint8_t*>(tile.x) + row * tile.x_stride + begin;
  }

  // The weights that the rows meet after those of `block`, or null.
  static const void* NextBlock(const GemmTile& tile, const Block& block) {
    if (kBlocksPerPanel > 1) return nullptr;
    if (block.col + kBlockCols >= tile.panel_end * S::kPanelCols)
      return block.last ? tile.next_panel : nullptr;
    return block.words + tile.w.panel_bytes() / sizeof(uint32_t);
  }

  static void Run(const GemmTile& tile) {
    uint8_t* acts = reinterpret_cast<uint8_t*>(tile.scratch);
    int32_t* sums = reinterpret_cast<int32_t*>(tile.scratch + ActBytes());
    const int64_t num_blocks = (tile.panel_end - tile.panel_begin) * kBlocksPerPanel;
    const int64_t num_groups = (tile.num_rows + kRows - 1) / kRows;
    Block block{};
    block.tile = &tile;
    block.sums_stride = num_blocks * kBlockCols;
    for (int64_t k = 0; k < tile.w.k; k += kBlockK) {
      const int64_t len = tile.w.k - k < kBlockK ? tile.w.k - k : kBlockK;
      block.num_words = (len + 3) / 4;
      block.first = k == 0;
      block.last = k + len == tile.w.k;
      for (int64_t r = 0; S::kCopiesInt8Acts && r < tile.num_rows; ++r) {
        S::CopyInt8Acts(Acts(tile, r, k), block.num_words, acts + r * kActStride);
      }
      for (int64_t b = 0; b < num_blocks; ++b) {
        const int64_t panel = tile.panel_begin + b / kBlocksPerPanel, in_panel = b % kBlocksPerPanel;
        block.col = panel * S::kPanelCols + in_panel * kBlockCols;
        block.words = static_cast<const uint32_t*>(tile.w.data) + panel * (tile.w.panel_bytes() / 4) +
                      k / 4 * S::kPanelCols + in_panel * kBlockCols;
        if (block.col >= tile.w.n) break;
        for (int64_t g = 0; g < num_groups; ++g) {  // of nearly equal size
          const int64_t end = tile.num_rows * (g + 1) / num_groups;
          block.row = tile.num_rows * g / num_groups;
          for (int64_t r = block.row; r < end; ++r) {
            block.acts[r - block.row] = S::kCopiesInt8Acts ? acts + r * kActStride : Acts(tile, r, k);
          }
          block.prefetch =
              PartOfNextPanel(block.words, NextBlock(tile, block), block.num_words * S::kPanelCols * 4,
                              block.num_words, g, num_groups);
          block.sums = sums + block.row * block.sums_stride + b * kBlockCols;
          TileFor(end - block.row, std::make_integer_sequence<int, kRows>{})(block);
        }
      }
    }
  }
};

}  // namespace
}  // namespace penstock
