// Rows as 8-bit integers, written once over a Dense type.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dense_kernel.h"
#include "kernels/cpu/row_access.h"

namespace penstock {
namespace {

// x / scale, rounded as a division is, but for numbers of no interest here: a product with the reciprocal,
// and one step of Newton's method for its last bit (Markstein). A division takes several times as long.
template <typename S>
struct Int8Divisor {
  using Vec = typename S::Vec;
  explicit Int8Divisor(float scale)
      : scale(S::Set(scale)), inverse(S::Set(1.0f / scale)), minus_inverse(S::Set(-1.0f / scale)) {}

  [[gnu::always_inline]] inline Vec Divide(Vec x) const {
    if constexpr (!S::kFusedMulAdd) return S::Div(x, scale);
    return LastBit(x, S::Mul(x, inverse));
  }
  // The same where the quotient may be infinite; beyond 8 bits, any number is as good as another.
  [[gnu::always_inline]] inline Vec DivideAny(Vec x) const {
    if constexpr (!S::kFusedMulAdd) return S::Div(x, scale);
    return LastBit(x, S::Min(S::Max(S::Mul(x, inverse), S::Set(-1024.0f)), S::Set(1024.0f)));
  }
  [[gnu::always_inline]] inline Vec LastBit(Vec x, Vec quotient) const {
    return S::MulAdd(S::MulSub(quotient, scale, x), minus_inverse, quotient);
  }

  Vec scale, inverse, minus_inverse;
};

// The largest magnitude of a row, as a bit pattern: their order is that of the numbers, and NaN is above all.
inline float LargestMagnitude(const float* x, int64_t count) {
  int32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    int32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  float value;
  __builtin_memcpy(&value, &most, sizeof(value));
  return value;
}
inline float LargestMagnitude(const Bf16* x, int64_t count) {
  int16_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<int16_t>(x[i].bits & 0x7fff);
    most = bits > most ? bits : most;
  }
  const uint32_t wide = static_cast<uint32_t>(most) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}

// 0 and NaN as cpu_ops.h says.
template <typename T>
inline float Int8RowScale(const T* x, int64_t count) {
  const float magnitude = LargestMagnitude(x, count);
  if (magnitude <= kInt8Tiny) return 0.0f;
  return magnitude <= 3.4028234664e38f ? magnitude / 127.0f : __builtin_nanf("");
}

// q = round(number(x)), vector by vector; number() of kLanes numbers is in [-128, 127].
template <typename S, typename T, typename Number>
[[gnu::always_inline]] inline void QuantizeRow(const T* x, int64_t count, uint8_t* q, const Number& number) {
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) S::StoreInt8(q + i, number(LoadVec<S>(x + i)));
  if (i < count) S::StoreInt8(q + i, number(LoadFirst<S>(x + i, count - i)));
}

template <typename S, typename T>
inline void QuantizeDynamic(const T* x, int64_t count, float scale, uint8_t* q) {
  const Int8Divisor<S> divisor(scale);
  QuantizeRow<S>(x, count, q,
                 [&](typename S::Vec v) __attribute__((always_inline)) { return divisor.Divide(v); });
}

template <typename S, typename T>
inline void QuantizeStatic(const T* x, int64_t count, float scale, float offset, uint8_t* q) {
  const Int8Divisor<S> divisor(scale);
  QuantizeRow<S>(x, count, q, [&](typename S::Vec v) __attribute__((always_inline)) {
    const auto shifted = S::Add(divisor.DivideAny(v), S::Set(offset));
    return S::Min(S::Max(shifted, S::Set(-128.0f)), S::Set(127.0f));
  });
}

template <typename S>
void Quantize(const QuantizeRows& rows) {
  WithType(rows.dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (int64_t r = 0; r < rows.num_rows; ++r) {
      const T* x = static_cast<const T*>(rows.x.data) + r * rows.x.stride;
      uint8_t* q = rows.q + r * rows.q_stride;
      if (rows.input_scale > 0.0f) {
        const auto offset = static_cast<float>(rows.input_offset);
        QuantizeStatic<S>(x, rows.num_cols, rows.input_scale, offset, q);
        continue;
      }
      rows.scale[r] = Int8RowScale(x, rows.num_cols);
      if (rows.scale[r] > 0.0f)
        QuantizeDynamic<S>(x, rows.num_cols, rows.scale[r], q);
      else
        __builtin_memset(q, 128, static_cast<size_t>(rows.num_cols));
    }
  });
}

}  // namespace
}  // namespace penstock
