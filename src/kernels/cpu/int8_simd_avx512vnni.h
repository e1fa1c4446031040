// Int8VnniOn: the products of Int8Avx512On by the dot product of four bytes (VNNI), unsigned times signed.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/int8_simd_avx512.h"

namespace penstock {
namespace {

template <typename Base>  // of Int8Avx512On
struct Int8VnniOn : Base {
  using Int = __m512i;
  static constexpr int kInt8Rows = 6;  // 24 accumulators; 4 loads of weights for 24 dot products
  static constexpr int kInt8Vecs = 4;
  static constexpr int kInt8BlockK = 4096;  // of a panel: 256 KiB
  static constexpr int kInt8ActBytes = 1;
  static constexpr bool kCopiesInt8Acts = false;

  using Int8Acts = __m512i;
  using Int8Weights = __m512i;
  PENSTOCK_INLINE Int8Acts SetInt8Acts(const uint8_t* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return _mm512_set1_epi32(word);
  }
  PENSTOCK_INLINE Int8Weights LoadInt8Weights(const uint32_t* p) { return _mm512_loadu_si512(p); }
  PENSTOCK_INLINE Int DotInt8(Int8Acts a, Int8Weights b, Int acc) { return _mm512_dpbusd_epi32(acc, a, b); }
};

}  // namespace
}  // namespace penstock
