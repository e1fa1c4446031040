// Scalar conversions between fp32 and the short float formats. Round to nearest, ties to even.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace penstock {

// A bfloat16 number: the upper half of the fp32 pattern.
struct Bf16 {
  uint16_t bits = 0;
};

inline float ToFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

inline Bf16 ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return Bf16{static_cast<uint16_t>((bits >> 16) | 0x40)};  // NaN stays NaN
  return Bf16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}

// IEEE half, given as its pattern.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// OCP float8 e4m3 ("fn": no infinities, 0x7f and 0xff are NaN), given as its pattern.
inline float Fp8E4M3ToFloat(uint8_t value) {
  const uint32_t exponent = (value >> 3) & 0xf;
  const uint32_t mantissa = value & 0x7;
  const float sign = (value & 0x80) ? -1.0f : 1.0f;
  if ((value & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, static_cast<int>(exponent) - 7);
}

}  // namespace penstock
