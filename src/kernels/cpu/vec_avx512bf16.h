// SimdAvx512Bf16: SimdAvx512 with the dot products of bf16 pairs and of four bytes (VNNI).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd_include.h"
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/vec_inline.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

struct SimdAvx512Bf16 : SimdAvx512 {
  // A word is two bf16 numbers; a Pairs has one word per lane.
  using Pairs = __m512i;

  PENSTOCK_INLINE Pairs LoadWords(const uint32_t* p) { return _mm512_loadu_si512(p); }
  PENSTOCK_INLINE Pairs SetWord(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
  // acc + a.low * b.low + a.high * b.high, lane by lane.
  PENSTOCK_INLINE Vec DotPairs(Pairs a, Pairs b, Vec acc) {
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
  }
  PENSTOCK_INLINE void StoreBf16(Bf16* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(v));
  }
  // Words of row `low` and row `high`, kLanes columns: dst[i] = {low[i], high[i]}.
  PENSTOCK_INLINE void InterleaveRows(const Bf16* low, const Bf16* high, uint32_t* dst) {
    _mm512_storeu_si512(dst, _mm512_or_si512(WidenBf16(low), _mm512_slli_epi32(WidenBf16(high), 16)));
  }
  // 2^x to 8e-5 relative: enough for a result that is rounded to bf16.
  PENSTOCK_INLINE Vec Exp2ForBf16(Vec x) {
    Vec n;
    const Vec f = Fraction(x, n);
    Vec p = MulAdd(Set(0x1.c3f760p-5f), f, Set(0x1.f0de1ap-3f));
    p = MulAdd(p, f, Set(0x1.62f31ap-1f));
    p = MulAdd(p, f, Set(0x1.fff692p-1f));
    return _mm512_scalef_ps(p, n);
  }

  using Ints = __m512i;
  PENSTOCK_INLINE Ints SetInt(int32_t x) { return _mm512_set1_epi32(x); }
  PENSTOCK_INLINE Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  PENSTOCK_INLINE Vec ToFloats(Ints v) { return _mm512_cvtepi32_ps(v); }
  // acc + the sum of the products of four bytes, lane by lane.
  PENSTOCK_INLINE Ints DotBytes(Ints unsigned_bytes, Ints signed_bytes, Ints acc) {
#ifdef __AVX512VNNI__  // of the intrinsic gcc 12 copies accumulators to and fro, and spills them
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
    return acc;
#else
    return _mm512_dpbusd_epi32(acc, unsigned_bytes, signed_bytes);
#endif
  }
  // Four bytes, in every lane.
  PENSTOCK_INLINE Ints BroadcastBytes(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return _mm512_set1_epi32(word);
  }
  // x * factor, in [0, 255], rounded.
  PENSTOCK_INLINE void StoreBytes(uint8_t* p, Vec x, Vec factor) {
    const Vec shifted = MulAdd(x, factor, Set(8388608.0f));  // 2^23: the whole number is in the low bits
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_castps_si512(shifted)));
  }
  // 2^x to 1.7e-3 relative: enough for a result that is rounded to 8 bits.
  PENSTOCK_INLINE Vec Exp2ForBytes(Vec x) {
    Vec n;
    const Vec f = Fraction(x, n);
    Vec p = MulAdd(Set(0x1.e84d6ep-3f), f, Set(0x1.682a56p-1f));
    p = MulAdd(p, f, Set(0x1.001d0ap+0f));
    return _mm512_scalef_ps(p, n);
  }
};

}  // namespace
}  // namespace penstock
