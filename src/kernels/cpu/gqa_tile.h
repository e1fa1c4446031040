// GqaTile (cpu_ops.h): what lies between the product that makes q, k and v, and attention. A row goes through
// once, and is stored while it is in the first-level cache. For the per-ISA sources only.
//
//   keys    tokens [t][dim] -> words [dim / n][block_size]   n numbers to a 32-bit word: 8 × 8 transpositions
//   values  tokens [t][dim] -> for each 64 dimensions, bf16: [t / 2][64] words of two tokens; f32: [t][64]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dense_kernel.h"
#include "kernels/cpu/gqa_tile_bytes.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/row_access.h"

namespace penstock {
namespace {

template <typename S, typename T>
PENSTOCK_INLINE void StoreUpTo(T* p, typename S::Vec v, int64_t count) {
  if (count == S::kLanes)
    StoreVec<S>(p, v);
  else
    StoreFirst<S>(p, v, count);
}

// One head: norm (where not null), then rotation of the pairs (i, i + half).
template <typename S, typename T>
PENSTOCK_INLINE void NormRotateHead(T* head, int64_t half, const float* norm, float eps, const float* cos,
                                    const float* sin) {
  const float mean = norm == nullptr ? 0.0f : SquareSum<S>(head, 2 * half) / static_cast<float>(2 * half);
  const auto inverse = S::Set(1.0f / __builtin_sqrtf(mean + eps));
  for (int64_t i = 0; i < half; i += S::kLanes) {
    const int64_t n = half - i < S::kLanes ? half - i : S::kLanes;
    auto a = LoadUpTo<S>(head + i, n), b = LoadUpTo<S>(head + half + i, n);
    if (norm != nullptr) {
      a = S::Mul(S::Mul(a, inverse), LoadUpTo<S>(norm + i, n));
      b = S::Mul(S::Mul(b, inverse), LoadUpTo<S>(norm + half + i, n));
    }
    const auto c = LoadUpTo<S>(cos + i, n), s = LoadUpTo<S>(sin + i, n);
    StoreUpTo<S>(head + i, S::MulSub(a, c, S::Mul(b, s)), n);
    StoreUpTo<S>(head + half + i, S::MulAdd(b, c, S::Mul(a, s)), n);
  }
}

template <typename S, typename T>
PENSTOCK_INLINE void NormRotateRows(RowsView rows, int64_t num_heads, const float* norm,
                                    const GqaTile& tile) {
  const int64_t half = tile.head_dim / 2;
  for (int64_t t = 0; t < tile.num_tokens; ++t) {
    const int64_t angles = tile.positions[t] * half;
    T* head = RowOf<T>(rows, t);
    for (int64_t h = 0; h < num_heads; ++h, head += tile.head_dim) {
      NormRotateHead<S>(head, half, norm, tile.eps, tile.cos + angles, tile.sin + angles);
    }
  }
}

// `stride` is that of keys' rows, in words. dst: [num_words][block_size], at the first token's place.
template <typename S>
void StoreKeys(const uint32_t* keys, int64_t stride, int64_t num_tokens, int64_t num_words, uint32_t* dst,
               int64_t block_size) {
  int64_t t = 0;
  for (; t + 8 <= num_tokens; t += 8) {
    for (int64_t w = 0; w < num_words; w += 8) {
      S::Transpose8x8(keys + t * stride + w, stride, dst + w * block_size + t, block_size);
    }
  }
  for (; t < num_tokens; ++t) {
    for (int64_t w = 0; w < num_words; ++w) {
      __builtin_memcpy(dst + w * block_size + t, keys + t * stride + w, sizeof(*dst));
    }
  }
}

// A panel of values, `dim` wide, of tokens at places [at, at + num_tokens) of the block; dst: the panel's
// first.
template <typename S>
void StoreValues(const float* values, int64_t stride, int64_t at, int64_t num_tokens, int64_t dim,
                 float* dst) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    __builtin_memcpy(dst + (at + t) * dim, values + t * stride, static_cast<size_t>(dim) * sizeof(float));
  }
}
template <typename S>
void StoreValues(const Bf16* values, int64_t stride, int64_t at, int64_t num_tokens, int64_t dim, Bf16* dst) {
  int64_t t = 0;
  if (at % 2 == 1) {  // its neighbour is there already
    Bf16* words = dst + (at - 1) * dim;
    for (int64_t d = 0; d < dim; ++d) words[2 * d + 1] = values[d];
    t = 1;
  }
  for (; t < num_tokens; t += 2) {  // a last one alone gets zeros beside it: see kv_layout.h
    const Bf16* first = values + t * stride;
    const Bf16* second = t + 1 < num_tokens ? first + stride : nullptr;
    Bf16* words = dst + (at + t) * dim;
    for (int64_t d = 0; second != nullptr && d < dim; ++d) {
      words[2 * d] = first[d];
      words[2 * d + 1] = second[d];
    }
    for (int64_t d = 0; second == nullptr && d < dim; ++d) {
      words[2 * d] = first[d];
      words[2 * d + 1] = Bf16{};
    }
  }
}

template <typename S>
void RunGqaTile(const GqaTile& tile) {
  WithType(tile.dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (tile.cos != nullptr) {
      if (tile.q.data != nullptr) NormRotateRows<S, T>(tile.q, tile.num_heads, tile.q_norm, tile);
      NormRotateRows<S, T>(tile.k, tile.num_kv_heads, tile.k_norm, tile);
    }
    asm volatile("" ::: "memory");  // what was written as T is read as words from here on
    if (tile.bytes) {
      for (int64_t h = 0; h < tile.num_kv_heads; ++h)
        StoreByteHead<S, T>(tile, h, tile.block + 2 * h * tile.head_bytes);
      return;
    }
    constexpr int64_t kPerWord = 4 / sizeof(T);
    for (int64_t h = 0; h < tile.num_kv_heads; ++h) {
      std::byte* keys = tile.block + 2 * h * tile.head_bytes;
      StoreKeys<S>(reinterpret_cast<const uint32_t*>(RowOf<T>(tile.k, 0) + h * tile.head_dim),
                   tile.k.stride / kPerWord, tile.num_tokens, tile.head_dim / kPerWord,
                   reinterpret_cast<uint32_t*>(keys) + tile.at, tile.block_size);
      const T* values = RowOf<T>(tile.v, 0) + h * tile.head_dim;
      T* dst = reinterpret_cast<T*>(keys + tile.head_bytes);
      for (int64_t panel = 0; panel < tile.head_dim; panel += kValuePanel) {
        StoreValues<S>(values + panel, tile.v.stride, tile.at, tile.num_tokens,
                       ValuePanelWidth(panel, tile.head_dim), dst + panel * tile.block_size);
      }
    }
  });
}

}  // namespace
}  // namespace penstock
