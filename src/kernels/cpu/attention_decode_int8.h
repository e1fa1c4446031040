// Int8 keys, values and queries made fp32, for instruction sets that do not multiply bytes, and int8 latents
// made elements. For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/quantize_row.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

// As PackPagedTile.
template <class S>
static void PackDecodedTile(const KeySource& source, int64_t key0, int64_t num_keys,
                            KeyTile<FloatWords<S>>& tile) {
  const int64_t block_size = source.cache.block_size, dim = tile.key_depth;
  tile.UsePacked(num_keys);
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const auto* keys = BlockPart<uint8_t>(source, pos, source.key_offset);
    const auto* values = BlockPart<int8_t>(source, pos, source.value_offset);
    const auto* key_scale = reinterpret_cast<const float*>(keys + dim * block_size);
    const auto* value_log2 = reinterpret_cast<const float*>(values + dim * block_size);
    const int64_t first = pos % block_size, column = pos - key0;
    for (int64_t c = 0; c < PadTo16(count); c += kDimGrain) {  // 16 keys lie in one panel
      for (int64_t d = 0; d < dim; ++d) {
        const auto* words = reinterpret_cast<const uint32_t*>(keys) + d / 4 * block_size + first + c;
        float* to = tile.packed_keys.At(d, column + c);
        const auto shift = static_cast<int>(d % 4 * 8);
        for (int64_t i = 0; i < kDimGrain; ++i) {
          const int key = static_cast<int>(words[i] >> shift & 0xff) - kKeyOffset;
          to[i] = static_cast<float>(key) * key_scale[first + c + i];
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = first + i;
      const float value_scale = S::ReduceMax(S::Exp2(S::Set(value_log2[at])));
      const auto shift = static_cast<int>(24 - at % 4 * 8);  // its byte to the top, for the sign
      for (int64_t d = 0; d < dim; d += kDimGrain) {
        const auto* words = reinterpret_cast<const uint32_t*>(
            values + ValueIndex(DType::kI8, at, d, dim, block_size) - at % 4);
        float* to = tile.packed_values.At(column + i, d);
        for (int64_t j = 0; j < kDimGrain; ++j)
          to[j] = static_cast<float>(static_cast<int32_t>(words[j] << shift) >> 24) * value_scale;
      }
    }
  });
  for (int64_t column = num_keys; column < PadTo16(num_keys); ++column) {
    for (int64_t d = 0; d < dim; ++d)
      *tile.packed_keys.At(d, column) = *tile.packed_values.At(column, d) = 0.0f;
  }
}

// A row of queries as its bytes make it.
static inline void ReadQuantized(const void* row, DType dtype, int64_t offset, int64_t count, float* to) {
  auto* bytes = reinterpret_cast<int8_t*>(to) + count * (sizeof(float) - 1);  // the last quarter of `to`
  const float scale = QuantizeRow(row, dtype, offset, count, bytes);
  for (int64_t i = 0; i < count; ++i) {
    const auto byte = static_cast<float>(bytes[i]);
    to[i] = byte * scale;
  }
}

// Bytes times their scale, as elements of W. count is a multiple of 16.
template <class W>
static void DecodeBytes(const int8_t* bytes, int64_t count, float scale, typename W::Element* to) {
  using S = typename W::Simd;
  for (int64_t i = 0; i < count; i += kDimGrain) {
    alignas(64) float numbers[kDimGrain];
    for (int64_t j = 0; j < kDimGrain; ++j) numbers[j] = static_cast<float>(bytes[i + j]) * scale;
    for (int64_t j = 0; j < kDimGrain; j += S::kLanes) StoreRow<S>(to + i + j, S::Load(numbers + j));
  }
}

// ReadLatents of any type of cache.
template <class W, typename CacheT>
static void ReadLatentRows(const KeySource& source, int64_t key0, int64_t num_keys, int64_t width,
                           typename W::Element* rows) {
  if constexpr (!std::is_same_v<CacheT, int8_t>) {
    ReadLatents<W, CacheT>(source, key0, num_keys, width, rows);
  } else {
    const int64_t block_size = source.cache.block_size, rank = source.latent_rank;
    ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
      const int8_t* block = BlockPart<int8_t>(source, pos, 0);
      const auto* scales = reinterpret_cast<const float*>(block + block_size * width);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = pos % block_size + i;
        typename W::Element* row = rows + (pos - key0 + i) * width;
        DecodeBytes<W>(block + at * width, rank, scales[2 * at], row);
        DecodeBytes<W>(block + at * width + rank, width - rank, scales[2 * at + 1], row + rank);
      }
    });
    const int64_t missing = PadTo16(num_keys) - num_keys;
    std::memset(static_cast<void*>(rows + num_keys * width), 0, missing * width * sizeof(*rows));
  }
}

}  // namespace
}  // namespace penstock
