// DenseAvx512: the operations of dense_simd_generic.h on AVX-512.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/int8_simd_avx512.h"
#include "kernels/cpu/vec_avx512.h"

namespace penstock {
namespace {

template <typename Base>  // SimdAvx512 or what extends it
struct DenseAvx512On : Int8Avx512On<Base> {
  using Vec = __m512;
  static constexpr int kPanelCols = 64;
  static constexpr int kGemmRows = 12;  // 24 accumulators of the 32 registers, on half a panel:
  static constexpr int kGemmVecs = 2;   // half as many words to widen for each multiplication as with 6 × 4
  static constexpr int kGemmBlockK = 256;
  static constexpr int kMaxTileRows = 192;
  static constexpr bool kHasDot = false;

  PENSTOCK_INLINE void Accumulate(Vec& acc, Vec a, Vec b) { acc = _mm512_fmadd_ps(a, b, acc); }
  PENSTOCK_INLINE Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  PENSTOCK_INLINE Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }

  PENSTOCK_INLINE Vec LoadLow(const uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  PENSTOCK_INLINE Vec LoadHigh(const uint32_t* p) {
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), mask));
  }
  PENSTOCK_INLINE Vec LoadHalf(const uint16_t* p) {
    const __m256 low = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256 high = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }

  PENSTOCK_INLINE Vec SwapPairs(Vec v) { return _mm512_shuffle_ps(v, v, 0xb1); }
  PENSTOCK_INLINE Vec LoadTwice(const float* p) {
    const __m512 eight = _mm512_castps256_ps512(_mm256_loadu_ps(p));
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(twice, eight);
  }
  PENSTOCK_INLINE Vec MulSubAdd(Vec a, Vec b, Vec c) {
    return _mm512_mask_blend_ps(0xaaaa, _mm512_fmsub_ps(a, b, c), _mm512_fmadd_ps(a, b, c));
  }
};

using DenseAvx512 = DenseAvx512On<SimdAvx512>;

}  // namespace
}  // namespace penstock
