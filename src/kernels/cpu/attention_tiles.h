// Tiles of keys and values of the paged cache (kv_layout.h): in place, or packed. For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

PENSTOCK_INLINE int64_t PadTo16(int64_t n) { return (n + 15) / 16 * 16; }

template <typename CacheT>
PENSTOCK_INLINE const CacheT* BlockPart(const KeySource& source, int64_t pos, size_t offset) {
  const int64_t block = source.block_ids[pos / source.cache.block_size];
  return reinterpret_cast<const CacheT*>(source.cache.data + block * source.cache.block_bytes + offset);
}

// body(pos, count) for the pieces of [begin, end) that lie in one block each.
template <typename Body>
PENSTOCK_INLINE void ForBlockPieces(const KeySource& source, int64_t begin, int64_t end, Body&& body) {
  for (int64_t pos = begin; pos < end;) {
    const int64_t block_end = (pos / source.cache.block_size + 1) * source.cache.block_size;
    const int64_t piece_end = block_end < end ? block_end : end;
    body(pos, piece_end - pos);
    pos = piece_end;
  }
}

constexpr int64_t kThinRows = 16;  // up to here operands are read where they lie: packing would cost more

// The keys and values of a tile, for products of rows with them: where they lie in the blocks of the cache,
// or packed in scratch.
template <class W>
struct KeyTile {
  using Word = typename W::Word;
  static constexpr int kWidth = Panels<W>::kWidth;
  static constexpr int kMaxPieces = 16;

  struct KeyPanel {
    const Word* data;
    int64_t stride;  // words from a row to the next
    int64_t column;  // its first key
    int64_t width;   // keys, a multiple of 16
  };

  int64_t key_depth;  // word rows of a panel of keys
  int64_t value_dim;  // columns of all panels of values
  Panels<W> packed_keys;
  Panels<W> packed_values;

  int num_key_panels = 0;
  KeyPanel key_panels[kMaxPieces];
  // Word rows of values lie in pieces. Panel d / kWidth of a piece begins panel_rows * kWidth * (d / kWidth)
  // words behind the piece, and the tile's first row is its row first_row.
  const Word* value_pieces[kMaxPieces];
  int64_t piece_rows = 0;
  int64_t panel_rows = 0;
  int64_t first_row = 0;

  KeyTile(ScratchPieces& scratch, int64_t key_dim, int64_t value_columns, int64_t key_tile)
      : key_depth(key_dim / W::kPerWord), value_dim(value_columns) {
    packed_keys.data = scratch.Take<Word>(key_depth * key_tile);
    packed_keys.depth = key_depth;
    packed_values.data = scratch.Take<Word>(key_tile / W::kPerWord * value_dim);
    packed_values.num_columns = value_dim;
  }

  // The tile is what is, or will be, packed.
  void UsePacked(int64_t num_keys) {
    packed_keys.num_columns = PadTo16(num_keys);
    packed_values.depth = PadTo16(num_keys) / W::kPerWord;
    num_key_panels = 0;
    for (int64_t column = 0; column < packed_keys.num_columns; column += kWidth) {
      const int64_t width = packed_keys.Width(column);
      key_panels[num_key_panels++] = {packed_keys.Panel(column), width, column, width};
    }
    value_pieces[0] = packed_values.data;
    piece_rows = panel_rows = packed_values.depth;
    first_row = 0;
  }

  // The rows of values of the panel that begins at column d.
  PieceRows<Word> Values(int64_t d) const {
    const int64_t width = value_dim - d < kWidth ? value_dim - d : kWidth;
    return {value_pieces, piece_rows, d * panel_rows + first_row * width, width};
  }
};

// Packs keys [key0, key0 + num_keys) of a paged cache of operands.
template <class W, typename CacheT>
static void PackPagedTile(const KeySource& source, int64_t key0, int64_t num_keys, KeyTile<W>& tile) {
  constexpr int64_t kDepth = kOperandDepth<CacheT>;
  const int64_t key_dim = tile.key_depth * W::kPerWord, block_size = source.cache.block_size;
  tile.UsePacked(num_keys);
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const auto* keys = BlockPart<OperandWord<CacheT>>(source, pos, source.key_offset);
    const auto* values = BlockPart<OperandWord<CacheT>>(source, pos, source.value_offset);
    PackOperand<W, CacheT>(keys + pos % block_size, block_size, key_dim / kDepth, PadTo16(count),
                           tile.packed_keys, 0, pos - key0);
    for (int64_t d = 0; d < tile.value_dim; d += kValuePanel) {
      const int64_t width = ValuePanelWidth(d, tile.value_dim);
      PackOperand<W, CacheT>(values + d * (block_size / kDepth) + pos % block_size / kDepth * width, width,
                             (count + kDepth - 1) / kDepth, width, tile.packed_values,
                             (pos - key0) / W::kPerWord, d);
    }
  });
}

// Whether products can read a paged cache where it lies: its words and panels are theirs, and its blocks make
// whole panels, or the rows are too few for that to count.
template <class W, typename CacheT>
PENSTOCK_INLINE bool ReadsInPlace(int64_t block_size, int64_t key_tile, bool thin) {
  if constexpr (kOperandDepth<CacheT> != W::kPerWord || KeyTile<W>::kWidth != kValuePanel) return false;
  if (block_size < kValuePanel && !thin) return false;
  return key_tile % block_size == 0 || block_size % key_tile == 0;
}

// Keys [key0, key0 + num_keys) where they lie.
template <class W>
static void LocatePagedTile(const KeySource& source, int64_t key0, int64_t num_keys, KeyTile<W>& tile) {
  using Word = typename W::Word;
  const int64_t block_size = source.cache.block_size;
  int pieces = 0;
  tile.num_key_panels = 0;
  tile.panel_rows = block_size / W::kPerWord;
  tile.first_row = key0 % block_size / W::kPerWord;
  tile.piece_rows = tile.panel_rows - tile.first_row;
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    tile.value_pieces[pieces++] = BlockPart<Word>(source, pos, source.value_offset);
    const Word* keys = BlockPart<Word>(source, pos, source.key_offset) + pos % block_size;
    const int64_t padded = PadTo16(count);
    for (int64_t k = 0; k < padded; k += KeyTile<W>::kWidth) {
      const int64_t width = padded - k < KeyTile<W>::kWidth ? padded - k : KeyTile<W>::kWidth;
      tile.key_panels[tile.num_key_panels++] = {keys + k, block_size, pos - key0 + k, width};
    }
  });
}

// Register tiles that one tile of keys takes for `num_rows` rows, about.
template <class W>
static int64_t NumRegisterTiles(int64_t num_rows, int64_t num_keys, int64_t value_dim) {
  constexpr int64_t kWidth = KeyTile<W>::kWidth, kRows = W::Simd::kTileRows;
  return (num_rows + kRows - 1) / kRows *
         ((num_keys + kWidth - 1) / kWidth + (value_dim + kWidth - 1) / kWidth);
}

// Asks for the blocks of a tile bit by bit, while the tile before it is worked on: all at once would be more
// than the processor can have under way.
class BlockPrefetcher {
 public:
  // Blocks with keys [begin, end), of which a kv head has `bytes` from the key offset on, in `num_steps`
  // steps. Of blocks larger than `key_tile` nothing is asked: a part of them lies in too many places.
  BlockPrefetcher(const KeySource& source, int64_t begin, int64_t end, int64_t key_tile, int64_t bytes,
                  int64_t num_steps)
      : source_(source), bytes_(bytes) {
    if (begin >= end || source.cache.block_size > key_tile) return;
    block_ = begin / source.cache.block_size;
    end_block_ = (end - 1) / source.cache.block_size + 1;
    bytes_per_step_ = ((end_block_ - block_) * bytes / (num_steps > 0 ? num_steps : 1) / kLine + 1) * kLine;
  }

  PENSTOCK_MEMBER void Step() {
    if (block_ == end_block_) return;
    const std::byte* data =
        source_.cache.data + source_.block_ids[block_] * source_.cache.block_bytes + source_.key_offset;
    const int64_t stop = offset_ + bytes_per_step_ < bytes_ ? offset_ + bytes_per_step_ : bytes_;
    for (; offset_ < stop; offset_ += kLine) __builtin_prefetch(data + offset_, 0, 2);
    if (offset_ < bytes_) return;
    offset_ = 0;
    ++block_;
  }

 private:
  static constexpr int64_t kLine = 64;
  const KeySource& source_;
  const int64_t bytes_;
  int64_t block_ = 0;
  int64_t end_block_ = 0;
  int64_t offset_ = 0;
  int64_t bytes_per_step_ = 0;
};

// Rows [key0, key0 + num_keys) of a cache of latents as elements, and rows of zeros up to a multiple of 16.
template <class W, typename CacheT>
static void ReadLatents(const KeySource& source, int64_t key0, int64_t num_keys, int64_t width,
                        typename W::Element* rows) {
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const CacheT* latents = BlockPart<CacheT>(source, pos, 0) + pos % source.cache.block_size * width;
    ConvertRow<typename W::Simd>(latents, rows + (pos - key0) * width, count * width);
  });
  const int64_t missing = PadTo16(num_keys) - num_keys;
  std::memset(static_cast<void*>(rows + num_keys * width), 0, missing * width * sizeof(*rows));
}

}  // namespace
}  // namespace penstock
