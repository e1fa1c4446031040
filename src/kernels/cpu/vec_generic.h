// SimdGeneric: the vector operations of the kernels in plain C++, on the compiler's portable vectors of four.
//
// Every Simd type (here, vec_avx2.h, vec_avx512.h) has the same static members, so that a kernel is written
// once over it. These headers are for the per-ISA sources (*_generic.cc, *_avx2.cc, …) only. All has internal
// linkage: the linker must never take a function compiled for one instruction set in place of another's.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/vec_inline.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

struct SimdGeneric {
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 2;  // register tile of a product: rows × vectors of kLanes columns,
  static constexpr int kTileVecs = 4;  // together a multiple of 16 columns
  static constexpr int kThinVecs = 4;  // the same for one or two rows
  typedef float Vec __attribute__((vector_size(16)));
  typedef uint32_t Bits __attribute__((vector_size(16)));

  PENSTOCK_INLINE Vec Zero() { return Vec{}; }
  PENSTOCK_INLINE Vec Set(float x) { return Vec{x, x, x, x}; }
  PENSTOCK_INLINE Vec Load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  PENSTOCK_INLINE void Store(float* p, Vec v) { std::memcpy(p, &v, sizeof(v)); }
  PENSTOCK_INLINE Vec Mul(Vec a, Vec b) { return a * b; }
  PENSTOCK_INLINE Vec Add(Vec a, Vec b) { return a + b; }
  PENSTOCK_INLINE Vec MulAdd(Vec a, Vec b, Vec c) { return a * b + c; }
  PENSTOCK_INLINE Vec MulSub(Vec a, Vec b, Vec c) { return a * b - c; }
  PENSTOCK_INLINE Vec Max(Vec a, Vec b) { return a > b ? a : b; }
  PENSTOCK_INLINE bool AnyAbove(Vec a, Vec b) {  // a > b in any lane
    const auto above = a > b;
    return (above[0] | above[1] | above[2] | above[3]) != 0;
  }
  PENSTOCK_INLINE float ReduceMax(Vec v) {
    const float low = v[0] > v[1] ? v[0] : v[1], high = v[2] > v[3] ? v[2] : v[3];
    return low > high ? low : high;
  }
  PENSTOCK_INLINE float ReduceAdd(Vec v) { return (v[0] + v[1]) + (v[2] + v[3]); }

  // Lanes [0, n) of v, the others of `fill`.
  PENSTOCK_INLINE Vec First(Vec v, int n, Vec fill) {
    for (int i = n; i < kLanes; ++i) v[i] = fill[i];
    return v;
  }

  // 2^x to 1e-7 relative, x in [-inf, 127]; below 2^-126 it stays there.
  PENSTOCK_INLINE Vec Exp2(Vec x) {
    x = Max(x, Set(-126.0f));
    const Vec shifted = x + Set(12582912.0f);  // 1.5 * 2^23: the integer part is in the low bits
    const Vec f = x - (shifted - Set(12582912.0f));
    Vec p = MulAdd(Set(0x1.5c08e6p-10f), f, Set(0x1.3d0c52p-7f));
    p = MulAdd(p, f, Set(0x1.c6b6e4p-5f));
    p = MulAdd(p, f, Set(0x1.ebf918p-3f));
    p = MulAdd(p, f, Set(0x1.62e428p-1f));
    p = MulAdd(p, f, Set(0x1.000002p+0f));
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
  }

  // kLanes words of two bf16 each: the lower ones and the upper ones, as fp32.
  PENSTOCK_INLINE void LoadPairs(const uint32_t* p, Vec& low, Vec& high) {
    Bits words;
    std::memcpy(&words, p, sizeof(words));
    low = reinterpret_cast<Vec>(words << 16);
    high = reinterpret_cast<Vec>(words & 0xffff0000u);
  }
  PENSTOCK_INLINE Vec LoadBf16(const Bf16* p) {
    return Vec{ToFloat(p[0]), ToFloat(p[1]), ToFloat(p[2]), ToFloat(p[3])};
  }
  PENSTOCK_INLINE void StoreBf16(Bf16* p, Vec v) {
    for (int i = 0; i < kLanes; ++i) p[i] = ToBf16(v[i]);
  }

  // dst[c * dst_stride + r] = src[r * src_stride + c] for r, c in [0, 8).
  PENSTOCK_INLINE void Transpose8x8(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                    int64_t dst_stride) {
    for (int c = 0; c < 8; ++c) {
      for (int r = 0; r < 8; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
    }
  }
};

}  // namespace
}  // namespace penstock
