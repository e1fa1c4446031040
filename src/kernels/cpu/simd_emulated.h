// SIMDe, and the few intrinsics that SIMDe 0.7.4 lacks. For tests only: include simd_include.h instead.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "tensor/bf16.h"

namespace penstock::simd_emulated {

// 16 bf16 numbers, as vcvtneps2bf16 makes them (but for denormals, which the instruction flushes).
inline __m256i ToBf16x16(__m512 v) {
  float values[16];
  uint16_t bits[16];
  std::memcpy(values, &v, sizeof(values));
  for (int i = 0; i < 16; ++i) bits[i] = ToBf16(values[i]).bits;
  __m256i result;
  std::memcpy(&result, bits, sizeof(bits));
  return result;
}

inline __m512i WidenU16(__m256i v) {
  uint16_t narrow[16];
  uint32_t wide[16];
  std::memcpy(narrow, &v, sizeof(narrow));
  for (int i = 0; i < 16; ++i) wide[i] = narrow[i];
  __m512i result;
  std::memcpy(&result, wide, sizeof(wide));
  return result;
}

inline __m512 ToFloats(__m512i v) {
  int32_t integers[16];
  float values[16];
  std::memcpy(integers, &v, sizeof(integers));
  for (int i = 0; i < 16; ++i) values[i] = static_cast<float>(integers[i]);
  __m512 result;
  std::memcpy(&result, values, sizeof(values));
  return result;
}

inline __m128i LowBytes(__m512i v) {
  int32_t wide[16];
  int8_t narrow[16];
  std::memcpy(wide, &v, sizeof(wide));
  for (int i = 0; i < 16; ++i) narrow[i] = static_cast<int8_t>(wide[i]);
  __m128i result;
  std::memcpy(&result, narrow, sizeof(narrow));
  return result;
}

}  // namespace penstock::simd_emulated

using __mmask16 = simde__mmask16;
#define _mm512_cvtneps_pbh(v) ::penstock::simd_emulated::ToBf16x16(v)
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(v) ::penstock::simd_emulated::WidenU16(v)
#define _mm512_cvtepi32_ps(v) ::penstock::simd_emulated::ToFloats(v)
#define _mm512_cvtepi32_epi8(v) ::penstock::simd_emulated::LowBytes(v)
#undef _mm512_madd_epi16  // its alias has the arguments of the masked form
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
