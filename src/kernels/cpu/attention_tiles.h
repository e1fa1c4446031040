// Tiles of keys and values, packed from the paged cache (kv_layout.h), and the states of tasks. For per-ISA
// sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_flash.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

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

PENSTOCK_INLINE int64_t PadTo16(int64_t n) { return (n + 15) / 16 * 16; }

template <class W>
struct KeyTile {
  Panels<W> keys;
  Panels<W> values;

  KeyTile(ScratchPieces& scratch, int64_t key_dim, int64_t value_dim, int64_t key_tile) {
    keys.data = scratch.Take<typename W::Word>(key_dim / W::kPerWord * key_tile);
    keys.depth = key_dim / W::kPerWord;
    values.data = scratch.Take<typename W::Word>(key_tile / W::kPerWord * value_dim);
    values.num_columns = value_dim;
  }
  void SetKeys(int64_t num_keys) {
    keys.num_columns = PadTo16(num_keys);
    values.depth = PadTo16(num_keys) / W::kPerWord;
  }
};

// Keys [key0, key0 + num_keys) of a paged cache of operands.
template <class W, typename CacheT>
static void LoadPagedTile(const KeySource& source, int64_t key0, int64_t num_keys, KeyTile<W>& tile) {
  const int64_t key_dim = tile.keys.depth * W::kPerWord, value_dim = tile.values.num_columns;
  const int64_t block_size = source.cache.block_size;
  tile.SetKeys(num_keys);
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const auto* keys = BlockPart<OperandWord<CacheT>>(source, pos, source.key_offset);
    const auto* values = BlockPart<OperandWord<CacheT>>(source, pos, source.value_offset);
    constexpr int64_t kDepth = kOperandDepth<CacheT>;
    PackOperand<W, CacheT>(keys + pos % block_size, block_size, key_dim / kDepth, PadTo16(count), tile.keys,
                           0, pos - key0);
    PackOperand<W, CacheT>(values + pos % block_size / kDepth * value_dim, value_dim,
                           (count + kDepth - 1) / kDepth, value_dim, tile.values, (pos - key0) / W::kPerWord,
                           0);
  });
}

// Asks for the share [begin, end) / whole of the tile of keys [key0, key0 + num_keys).
template <typename CacheT>
static void PrefetchPagedTile(const KeySource& source, int64_t key0, int64_t num_keys, int64_t key_dim,
                              int64_t value_dim, int64_t begin, int64_t end, int64_t whole) {
  const int64_t block_size = source.cache.block_size;
  auto prefetch = [&](const std::byte* data, int64_t bytes) {
    for (int64_t i = bytes * begin / whole / 64 * 64; i < bytes * end / whole; i += 64) {
      __builtin_prefetch(data + i, 0, 2);
    }
  };
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    if (count < block_size) return;  // keys of a block lie together: a part of them is in too many places
    prefetch(BlockPart<std::byte>(source, pos, source.key_offset), count * key_dim * sizeof(CacheT));
    prefetch(BlockPart<std::byte>(source, pos, source.value_offset), count * value_dim * sizeof(CacheT));
  });
}

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

// Divides by the sums and writes.
template <class S>
static void FinishRows(const FlashState& state, const ResultRows& rows) {
  for (int64_t r = 0; r < rows.num_rows; ++r) {
    const int64_t row = rows.row_begin + r;
    const int64_t offset = row / rows.group * rows.out.stride + row % rows.group * rows.out.dim;
    WriteElements<S>(state.acc + r * state.value_dim, 1.0f / state.sum[r], rows.out.data, rows.out.dtype,
                     offset, rows.out.dim);
  }
}

// The state whose floats (PartialFloats of them) begin at `floats`.
PENSTOCK_INLINE FlashState StateAt(float* floats, int64_t rows, int64_t value_dim) {
  return {floats, floats + rows, floats + 2 * rows, value_dim};
}

// The state of a task: in `partial` where the caller wants it, otherwise in scratch.
PENSTOCK_INLINE FlashState TakeState(ScratchPieces& scratch, float* partial, int32_t rows,
                                     int32_t value_dim) {
  return StateAt(partial ? partial : scratch.Take<float>(PartialFloats(rows, value_dim)), rows, value_dim);
}

}  // namespace
}  // namespace penstock
