// Int8Generic: what products in 8-bit integers need beyond SimdGeneric. Every Int8 type has these members.
// For the per-ISA sources only, as vec_generic.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/vec_generic.h"

namespace penstock {
namespace {

struct Int8Generic : SimdGeneric {
  static constexpr int kInt8Rows = 2;  // register tile: rows ×
  static constexpr int kInt8Vecs = 2;  // vectors of kLanes columns
  static constexpr int kInt8BlockK = 1024;
  static constexpr int kInt8ActBytes = 1;  // of one activation in the buffer of a tile
  static constexpr bool kCopiesInt8Acts = true;
  static constexpr bool kFusedMulAdd = false;
  typedef int32_t Int __attribute__((vector_size(16)));

  PENSTOCK_INLINE Int ZeroInt() { return Int{}; }
  PENSTOCK_INLINE Int LoadInt(const int32_t* p) {
    Int v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  PENSTOCK_INLINE void StoreInt(int32_t* p, Int v) { std::memcpy(p, &v, sizeof(v)); }
  PENSTOCK_INLINE Int AddInt(Int a, Int b) { return reinterpret_cast<Int>(Bits(a) + Bits(b)); }
  PENSTOCK_INLINE Vec IntToFloat(Int v) { return __builtin_convertvector(v, Vec); }

  // Copies 4 * num_words activations (0 … 255) of a row as SetInt8Acts reads them.
  PENSTOCK_INLINE void CopyInt8Acts(const uint8_t* src, int64_t num_words, uint8_t* dst) {
    std::memcpy(dst, src, static_cast<size_t>(num_words) * 4);
  }
  // Four activations of a row, for all lanes; four neighbours in k of kLanes columns.
  struct Int8Acts {
    int32_t number[4];
  };
  struct Int8Weights {
    Int number[4];
  };
  PENSTOCK_INLINE Int8Acts SetInt8Acts(const uint8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  PENSTOCK_INLINE Int8Weights LoadInt8Weights(const uint32_t* p) {
    Int words;
    std::memcpy(&words, p, sizeof(words));
    const auto shift = [&](int by) {
      return reinterpret_cast<Int>(reinterpret_cast<Bits>(words) << by) >> 24;
    };
    return {{shift(24), shift(16), shift(8), words >> 24}};
  }
  // acc + the sum of four products, lane by lane.
  PENSTOCK_INLINE Int DotInt8(const Int8Acts& a, const Int8Weights& b, Int acc) {
    for (int i = 0; i < 4; ++i) acc += b.number[i] * a.number[i];
    return acc;
  }

  // kLanes numbers in [-128, 127], rounded to the nearest (ties to even), plus 128.
  PENSTOCK_INLINE void StoreInt8(uint8_t* p, Vec v) {
    const Vec rounded = v + Set(12582912.0f) - Set(12582912.0f);  // 1.5 * 2^23: units are the last bit
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(static_cast<int32_t>(rounded[i]) + 128);
  }
};

}  // namespace
}  // namespace penstock
