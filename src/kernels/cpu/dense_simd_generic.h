// DenseGeneric: SimdGeneric, Int8Generic and what products and row operations need beyond it. Every Dense
// type has these members. For the per-ISA sources only, as vec_generic.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/int8_simd_generic.h"

namespace penstock {
namespace {

struct DenseGeneric : Int8Generic {
  static constexpr int kPanelCols = 16;    // columns of a packed panel
  static constexpr int kGemmRows = 4;      // register tile of a product: rows ×
  static constexpr int kGemmVecs = 2;      // vectors of kLanes columns
  static constexpr int kGemmBlockK = 256;  // numbers of k that are multiplied at a time
  static constexpr int kMaxTileRows = 64;
  static constexpr bool kHasDot = false;  // dot products of bf16 pairs

  // acc += a * b.
  PENSTOCK_INLINE void Accumulate(Vec& acc, Vec a, Vec b) { acc += a * b; }
  PENSTOCK_INLINE Vec Div(Vec a, Vec b) { return a / b; }
  PENSTOCK_INLINE Vec Min(Vec a, Vec b) { return a < b ? a : b; }

  // kLanes words of two bf16 each: the lower ones or the upper ones, as fp32.
  PENSTOCK_INLINE Vec LoadLow(const uint32_t* p) {
    Bits words;
    std::memcpy(&words, p, sizeof(words));
    return reinterpret_cast<Vec>(words << 16);
  }
  PENSTOCK_INLINE Vec LoadHigh(const uint32_t* p) {
    Bits words;
    std::memcpy(&words, p, sizeof(words));
    return reinterpret_cast<Vec>(words & 0xffff0000u);
  }
  PENSTOCK_INLINE Vec LoadHalf(const uint16_t* p) {
    return Vec{HalfToFloat(p[0]), HalfToFloat(p[1]), HalfToFloat(p[2]), HalfToFloat(p[3])};
  }

  // Lanes 2i and 2i + 1 exchanged.
  PENSTOCK_INLINE Vec SwapPairs(Vec v) { return Vec{v[1], v[0], v[3], v[2]}; }
  // p[i] in lanes 2i and 2i + 1, for i in [0, kLanes / 2).
  PENSTOCK_INLINE Vec LoadTwice(const float* p) { return Vec{p[0], p[0], p[1], p[1]}; }
  // a * b - c in even lanes, a * b + c in odd ones.
  PENSTOCK_INLINE Vec MulSubAdd(Vec a, Vec b, Vec c) { return a * b + Vec{-c[0], c[1], -c[2], c[3]}; }
};

}  // namespace
}  // namespace penstock
