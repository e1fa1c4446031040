// SimdAvx2: the vector operations of vec_generic.h on 256-bit AVX2 with FMA.
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

struct SimdAvx2 {
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 6;
  static constexpr int kTileVecs = 2;
  static constexpr int kThinVecs = 4;
  using Vec = __m256;

  PENSTOCK_INLINE Vec Zero() { return _mm256_setzero_ps(); }
  PENSTOCK_INLINE Vec Set(float x) { return _mm256_set1_ps(x); }
  PENSTOCK_INLINE Vec Load(const float* p) { return _mm256_loadu_ps(p); }
  PENSTOCK_INLINE void Store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  PENSTOCK_INLINE Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  PENSTOCK_INLINE Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  PENSTOCK_INLINE Vec MulAdd(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  PENSTOCK_INLINE Vec MulSub(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }
  PENSTOCK_INLINE Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  PENSTOCK_INLINE bool AnyAbove(Vec a, Vec b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
  }
  PENSTOCK_INLINE float ReduceMax(Vec v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  PENSTOCK_INLINE float ReduceAdd(Vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  PENSTOCK_INLINE Vec First(Vec v, int n, Vec fill) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane)));
  }

  PENSTOCK_INLINE Vec Exp2(Vec x) {  // as SimdGeneric::Exp2
    const Vec magic = Set(12582912.0f);
    x = Max(x, Set(-126.0f));
    const Vec shifted = _mm256_add_ps(x, magic);
    const Vec f = _mm256_sub_ps(x, _mm256_sub_ps(shifted, magic));
    Vec p = MulAdd(Set(0x1.5c08e6p-10f), f, Set(0x1.3d0c52p-7f));
    p = MulAdd(p, f, Set(0x1.c6b6e4p-5f));
    p = MulAdd(p, f, Set(0x1.ebf918p-3f));
    p = MulAdd(p, f, Set(0x1.62e428p-1f));
    p = MulAdd(p, f, Set(0x1.000002p+0f));
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  }

  PENSTOCK_INLINE void LoadPairs(const uint32_t* p, Vec& low, Vec& high) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    low = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    high = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  PENSTOCK_INLINE Vec LoadBf16(const Bf16* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  PENSTOCK_INLINE void StoreBf16(Bf16* p, Vec v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    const __m256i chosen = _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), is_nan));
    const __m256i high = _mm256_srli_epi32(chosen, 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }

  PENSTOCK_INLINE void Transpose8x8(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                    int64_t dst_stride) {
    Transpose8x8Avx(src, src_stride, dst, dst_stride);
  }
};

}  // namespace
}  // namespace penstock
