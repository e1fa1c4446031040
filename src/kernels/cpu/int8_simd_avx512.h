// Int8Avx512On: the operations of int8_simd_generic.h on AVX-512 without VNNI, as int8_simd_avx2.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/vec_avx512.h"

namespace penstock {
namespace {

template <typename Base>  // SimdAvx512 or what extends it
struct Int8Avx512On : Base {
  static constexpr int kInt8Rows = 6;  // gcc 12 spills sums of 8 rows
  static constexpr int kInt8Vecs = 2;
  static constexpr int kInt8BlockK = 1024;
  static constexpr int kInt8ActBytes = 2;
  static constexpr bool kCopiesInt8Acts = true;
  static constexpr bool kFusedMulAdd = true;
  using Int = __m512i;

  PENSTOCK_INLINE Int ZeroInt() { return _mm512_setzero_si512(); }
  PENSTOCK_INLINE Int LoadInt(const int32_t* p) { return _mm512_loadu_si512(p); }
  PENSTOCK_INLINE void StoreInt(int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
  PENSTOCK_INLINE Int AddInt(Int a, Int b) { return _mm512_add_epi32(a, b); }
  PENSTOCK_INLINE __m512 IntToFloat(Int v) { return _mm512_cvtepi32_ps(v); }

  PENSTOCK_INLINE void CopyInt8Acts(const uint8_t* src, int64_t num_words, uint8_t* dst) {
    for (int64_t i = 0; i < num_words; ++i) {
      uint32_t word;
      std::memcpy(&word, src + 4 * i, sizeof(word));
      const uint32_t pairs[2] = {word & 0x00ff00ffu, word >> 8 & 0x00ff00ffu};
      std::memcpy(dst + 8 * i, pairs, sizeof(pairs));
    }
  }
  struct Int8Acts {
    __m512i even, odd;
  };
  using Int8Weights = Int8Acts;
  PENSTOCK_INLINE Int8Acts SetInt8Acts(const uint8_t* p) {
    int32_t even, odd;
    std::memcpy(&even, p, sizeof(even));
    std::memcpy(&odd, p + 4, sizeof(odd));
    return {_mm512_set1_epi32(even), _mm512_set1_epi32(odd)};
  }
  PENSTOCK_INLINE Int8Weights LoadInt8Weights(const uint32_t* p) {
    const __m512i words = _mm512_loadu_si512(p);
    return {_mm512_srai_epi16(_mm512_slli_epi16(words, 8), 8), _mm512_srai_epi16(words, 8)};
  }
  PENSTOCK_INLINE Int DotInt8(const Int8Acts& a, const Int8Weights& b, Int acc) {
    acc = _mm512_add_epi32(acc, _mm512_madd_epi16(a.even, b.even));
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a.odd, b.odd));
  }

  PENSTOCK_INLINE void StoreInt8(uint8_t* p, __m512 v) {
    // 1.5 * 2^23 more, units are the last bit of the pattern; 128 more does not change what is even.
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(v, _mm512_set1_ps(12582912.0f + 128.0f)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(bits));
  }
};

}  // namespace
}  // namespace penstock
