// SimdAvx512: the vector operations of vec_generic.h on 512-bit AVX-512 (F, BW, VL, DQ).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/simd_include.h"
#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_transpose_avx2.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

struct SimdAvx512 {
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 6;
  static constexpr int kTileVecs = 4;
  static constexpr int kThinVecs = 4;
  using Vec = __m512;

  PENSTOCK_INLINE Vec Zero() { return _mm512_setzero_ps(); }
  PENSTOCK_INLINE Vec Set(float x) { return _mm512_set1_ps(x); }
  PENSTOCK_INLINE Vec Load(const float* p) { return _mm512_loadu_ps(p); }
  PENSTOCK_INLINE void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  PENSTOCK_INLINE Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  PENSTOCK_INLINE Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  PENSTOCK_INLINE Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  PENSTOCK_INLINE Vec MulAdd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  PENSTOCK_INLINE Vec MulSub(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }
  PENSTOCK_INLINE Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  PENSTOCK_INLINE bool AnyAbove(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
  PENSTOCK_INLINE __m256 UpperHalf(Vec v) {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  }
  PENSTOCK_INLINE float ReduceMax(Vec v) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), UpperHalf(v));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  PENSTOCK_INLINE float ReduceAdd(Vec v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), UpperHalf(v));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  PENSTOCK_INLINE Vec First(Vec v, int n, Vec fill) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>((1u << n) - 1), fill, v);
  }

  // x = n + f with n whole and f in [-1/2, 1/2].
  PENSTOCK_INLINE Vec Fraction(Vec x, Vec& n) {
    n = _mm512_roundscale_ps(x, 0);
    return _mm512_sub_ps(x, n);
  }
  PENSTOCK_INLINE Vec Exp2(Vec x) {  // as SimdGeneric::Exp2, but finite x below -126 go on to 0
    Vec n;
    const Vec f = Fraction(x, n);
    Vec p = MulAdd(Set(0x1.5c08e6p-10f), f, Set(0x1.3d0c52p-7f));
    p = MulAdd(p, f, Set(0x1.c6b6e4p-5f));
    p = MulAdd(p, f, Set(0x1.ebf918p-3f));
    p = MulAdd(p, f, Set(0x1.62e428p-1f));
    p = MulAdd(p, f, Set(0x1.000002p+0f));
    return _mm512_scalef_ps(p, n);
  }

  PENSTOCK_INLINE void LoadPairs(const uint32_t* p, Vec& low, Vec& high) {
    const __m512i words = _mm512_loadu_si512(p);
    low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    high = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  PENSTOCK_INLINE __m512i WidenBf16(const Bf16* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  PENSTOCK_INLINE Vec LoadBf16(const Bf16* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(WidenBf16(p), 16));
  }
  PENSTOCK_INLINE void StoreBf16(Bf16* p, Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i high = _mm512_srli_epi32(_mm512_mask_blend_epi32(is_nan, rounded, quiet), 16);
    const __m256i low_half = _mm512_castsi512_si256(high), high_half = _mm512_extracti64x4_epi64(high, 1);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low_half, high_half), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
  }

  PENSTOCK_INLINE void Transpose8x8(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                    int64_t dst_stride) {
    Transpose8x8Avx(src, src_stride, dst, dst_stride);
  }
};

}  // namespace
}  // namespace penstock
