// A row of numbers as bytes with one scale, as kernels.h defines it for caches of bytes. For per-ISA sources
// only: the loops are plain, for the compiler to make vectors of.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include "tensor/bf16.h"
#include "tensor/dtype.h"

namespace penstock {
namespace {

constexpr float kMaxInt8 = 127.0f;
constexpr float kLeastValueScale = 0x1p-40f;  // below it values are 0; the logarithm of a scale is finite

static inline float NumberOf(float x) { return x; }
static inline float NumberOf(Bf16 x) { return ToFloat(x); }

// The largest magnitude.
template <typename From>
static float LargestElement(const From* from, int64_t count) {
  constexpr uint32_t kMagnitude = 0x7fffffffu;  // patterns of magnitudes are in order
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(NumberOf(from[i])) & kMagnitude;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

static inline float InverseScale(float largest) { return largest > 0.0f ? kMaxInt8 / largest : 0.0f; }

// to[i] = round(from[i] * inverse).
template <typename From>
static void RoundElements(const From* from, int64_t count, float inverse, int8_t* to) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the whole number is in the low bits of the sum
  constexpr int64_t kPiece = 128;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t length = count - begin < kPiece ? count - begin : kPiece;
    float products[kPiece];
    for (int64_t i = 0; i < length; ++i) products[i] = NumberOf(from[begin + i]) * inverse;
    asm volatile("" ::"r"(products) : "memory");  // no fused multiply-add: bf16 numbers often make ties
    for (int64_t i = 0; i < length; ++i)
      to[begin + i] = static_cast<int8_t>(std::bit_cast<uint32_t>(products[i] + kShift));
  }
}

// to[i] = round(from[i] / scale), scale = max |from| / 127, which is returned; 0 of a row of zeros.
template <typename From>
static float QuantizeElements(const From* from, int64_t count, int8_t* to) {
  const float largest = LargestElement(from, count);
  RoundElements(from, count, InverseScale(largest), to);
  return largest / kMaxInt8;
}

// The same; returns the binary logarithm of the scale (kv_layout.h).
template <typename From>
static float QuantizeValue(const From* from, int64_t count, int8_t* to) {
  const float scale = QuantizeElements(from, count, to);
  if (!(scale < kLeastValueScale)) return __builtin_log2f(scale);  // NaN stays NaN
  __builtin_memset(to, 0, count);
  return __builtin_log2f(kLeastValueScale);
}

// Elements [offset, offset + count) of a row of `dtype`.
static inline float QuantizeRow(const void* row, DType dtype, int64_t offset, int64_t count, int8_t* to) {
  return dtype == DType::kF32 ? QuantizeElements(static_cast<const float*>(row) + offset, count, to)
                              : QuantizeElements(static_cast<const Bf16*>(row) + offset, count, to);
}
static inline float QuantizeValueRow(const void* row, DType dtype, int64_t offset, int64_t count,
                                     int8_t* to) {
  return dtype == DType::kF32 ? QuantizeValue(static_cast<const float*>(row) + offset, count, to)
                              : QuantizeValue(static_cast<const Bf16*>(row) + offset, count, to);
}

}  // namespace
}  // namespace penstock
