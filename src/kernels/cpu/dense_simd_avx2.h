// DenseAvx2: the operations of dense_simd_generic.h on AVX2.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/int8_simd_avx2.h"

namespace penstock {
namespace {

struct DenseAvx2 : Int8Avx2 {
  static constexpr int kPanelCols = 16;
  static constexpr int kGemmRows = 6;  // 12 accumulators of the 16 registers
  static constexpr int kGemmVecs = 2;
  static constexpr int kGemmBlockK = 512;  // a panel's block is 16 KiB in bf16: half of the first-level cache
  static constexpr int kMaxTileRows = 144;  // a block of activations is 297 KiB: it stays in the second level
  static constexpr bool kHasDot = false;

  // By hand, because gcc 12 otherwise lets sums of a 6 × 2 tile change registers, runs out of them, and
  // spills.
  PENSTOCK_INLINE void Accumulate(Vec& acc, Vec a, Vec b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
  }
  PENSTOCK_INLINE Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  PENSTOCK_INLINE Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }

  PENSTOCK_INLINE Vec LoadLow(const uint32_t* p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
  }
  PENSTOCK_INLINE Vec LoadHigh(const uint32_t* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  PENSTOCK_INLINE Vec LoadHalf(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  PENSTOCK_INLINE Vec SwapPairs(Vec v) { return _mm256_permute_ps(v, 0xb1); }
  PENSTOCK_INLINE Vec LoadTwice(const float* p) {
    const __m256 four = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_permutevar8x32_ps(four, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  PENSTOCK_INLINE Vec MulSubAdd(Vec a, Vec b, Vec c) { return _mm256_fmaddsub_ps(a, b, c); }
};

}  // namespace
}  // namespace penstock
