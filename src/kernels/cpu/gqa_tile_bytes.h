// What GqaTile stores of a cache of bytes (kv_layout.h). For the per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/quantize_row.h"
#include "kernels/cpu/row_access.h"

namespace penstock {
namespace {

constexpr int64_t kMostTileTokens = 16;
constexpr int64_t kBytePiece = 32;  // dimensions made bytes at once: 8 words

// keys: bytes [token][kBytePiece]; dst: [kBytePiece / 4][block_size] words, at the first token's place.
template <typename S>
void StoreKeyWords(const uint32_t* keys, int64_t num_tokens, int64_t num_words, uint32_t* dst,
                   int64_t block_size) {
  constexpr int64_t kWords = kBytePiece / 4;
  int64_t t = 0;
  for (; num_words == kWords && t + 8 <= num_tokens; t += 8)
    S::Transpose8x8(keys + t * kWords, kWords, dst + t, block_size);
  for (; t < num_tokens; ++t) {
    for (int64_t w = 0; w < num_words; ++w) dst[w * block_size + t] = keys[t * kWords + w];
  }
}

// One kv head of the tile's tokens. dst: its keys, then, head_bytes behind, its values.
template <typename S, typename T>
void StoreByteHead(const GqaTile& tile, int64_t head, std::byte* dst) {
  const int64_t dim = tile.head_dim, block_size = tile.block_size, column = head * dim;
  auto* key_words = reinterpret_cast<uint32_t*>(dst) + tile.at;
  auto* values = reinterpret_cast<int8_t*>(dst + tile.head_bytes);
  auto* key_scales = reinterpret_cast<float*>(dst + dim * block_size) + tile.at;
  auto* value_log2 = reinterpret_cast<float*>(dst + tile.head_bytes + dim * block_size) + tile.at;
  float inverse[kMostTileTokens];
  for (int64_t t = 0; t < tile.num_tokens; ++t) {
    const float largest = LargestElement(RowOf<T>(tile.k, t) + column, dim);
    key_scales[t] = largest / kMaxInt8;
    inverse[t] = InverseScale(largest);
  }
  for (int64_t d = 0; d < dim; d += kBytePiece) {
    const int64_t width = dim - d < kBytePiece ? dim - d : kBytePiece;
    alignas(64) uint32_t words[kMostTileTokens * kBytePiece / 4] = {};
    auto* bytes = reinterpret_cast<uint8_t*>(words);
    for (int64_t t = 0; t < tile.num_tokens; ++t) {
      int8_t* row = reinterpret_cast<int8_t*>(bytes) + t * kBytePiece;
      RoundElements(RowOf<T>(tile.k, t) + column + d, width, inverse[t], row);
    }
    for (int64_t i = 0; i < tile.num_tokens * kBytePiece; ++i) bytes[i] ^= kKeyOffset;  // of int8, + 128
    asm volatile("" ::: "memory");  // bytes are words from here on
    StoreKeyWords<S>(words, tile.num_tokens, width / 4, key_words + d / 4 * block_size, block_size);
  }
  int8_t row[kMaxByteHeadDim];
  for (int64_t t = 0; t < tile.num_tokens; ++t) {
    value_log2[t] = QuantizeValue(RowOf<T>(tile.v, t) + column, dim, row);
    const int64_t at = tile.at + t;
    for (int64_t panel = 0; panel < dim; panel += kValuePanel) {
      const int64_t width = ValuePanelWidth(panel, dim);
      int8_t* to = values + ValueIndex(DType::kI8, at, panel, dim, block_size);
      for (int64_t d = 0; d < width; ++d) to[4 * d] = row[panel + d];
    }
  }
}

}  // namespace
}  // namespace penstock
