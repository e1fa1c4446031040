// Int8Avx2: the operations of int8_simd_generic.h on AVX2.
//
// Its product of bytes (vpmaddubsw) saturates at 16 bits, so both sides are widened to 16 bits, weights in
// registers, activations where they are copied; numbers 0 and 2 of a word make one pair, 1 and 3 the other.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/vec_avx2.h"

namespace penstock {
namespace {

struct Int8Avx2 : SimdAvx2 {
  static constexpr int kInt8Rows = 4;  // 8 accumulators, 4 vectors of weights, 2 of activations
  static constexpr int kInt8Vecs = 2;
  static constexpr int kInt8BlockK = 1024;
  static constexpr int kInt8ActBytes = 2;
  static constexpr bool kCopiesInt8Acts = true;
  static constexpr bool kFusedMulAdd = true;
  using Int = __m256i;

  PENSTOCK_INLINE Int ZeroInt() { return _mm256_setzero_si256(); }
  PENSTOCK_INLINE Int LoadInt(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  PENSTOCK_INLINE void StoreInt(int32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  PENSTOCK_INLINE Int AddInt(Int a, Int b) { return _mm256_add_epi32(a, b); }
  PENSTOCK_INLINE Vec IntToFloat(Int v) { return _mm256_cvtepi32_ps(v); }

  PENSTOCK_INLINE void CopyInt8Acts(const uint8_t* src, int64_t num_words, uint8_t* dst) {
    for (int64_t i = 0; i < num_words; ++i) {
      uint32_t word;
      std::memcpy(&word, src + 4 * i, sizeof(word));
      const uint32_t pairs[2] = {word & 0x00ff00ffu, word >> 8 & 0x00ff00ffu};
      std::memcpy(dst + 8 * i, pairs, sizeof(pairs));
    }
  }
  struct Int8Acts {
    __m256i even, odd;
  };
  using Int8Weights = Int8Acts;
  PENSTOCK_INLINE Int8Acts SetInt8Acts(const uint8_t* p) {
    int32_t even, odd;
    std::memcpy(&even, p, sizeof(even));
    std::memcpy(&odd, p + 4, sizeof(odd));
    return {_mm256_set1_epi32(even), _mm256_set1_epi32(odd)};
  }
  PENSTOCK_INLINE Int8Weights LoadInt8Weights(const uint32_t* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm256_srai_epi16(_mm256_slli_epi16(words, 8), 8), _mm256_srai_epi16(words, 8)};
  }
  PENSTOCK_INLINE Int DotInt8(const Int8Acts& a, const Int8Weights& b, Int acc) {
    // By hand, as DenseAvx2::Accumulate.
    asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(_mm256_madd_epi16(a.even, b.even)));
    asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(_mm256_madd_epi16(a.odd, b.odd)));
    return acc;
  }

  PENSTOCK_INLINE void StoreInt8(uint8_t* p, Vec v) {
    const __m256i wide = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    const __m128i bytes = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-128));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
  }
};

}  // namespace
}  // namespace penstock
