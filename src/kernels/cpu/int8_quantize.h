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
    // Far beyond 8 bits is enough: no infinity meets another one.
    const Vec quotient = S::Min(S::Max(S::Mul(x, inverse), S::Set(-1024.0f)), S::Set(1024.0f));
    return S::MulAdd(S::MulSub(quotient, scale, x), minus_inverse, quotient);
  }

  Vec scale, inverse, minus_inverse;
};

// The scale of a row by its largest magnitude; 0 and NaN as cpu_ops.h says.
template <typename S, typename T>
float Int8RowScale(const T* x, int64_t count) {
  typename S::Int most = S::ZeroInt();
  for (int64_t i = 0; i < count; i += S::kLanes) {
    most = S::MaxMagnitude(most, LoadUpTo<S>(x + i, count - i < S::kLanes ? count - i : S::kLanes));
  }
  const float magnitude = S::ReduceMagnitude(most);
  if (magnitude <= kInt8Tiny) return 0.0f;
  return magnitude <= 3.4028234664e38f ? magnitude / 127.0f : __builtin_nanf("");
}

template <typename S>
void Quantize(const QuantizeRows& rows) {
  WithType(rows.dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool dynamic = rows.input_scale == 0.0f;
    for (int64_t r = 0; r < rows.num_rows; ++r) {
      const T* x = static_cast<const T*>(rows.x.data) + r * rows.x.stride;
      uint8_t* q = rows.q + r * rows.q_stride;
      const float scale = dynamic ? Int8RowScale<S>(x, rows.num_cols) : rows.input_scale;
      if (dynamic) rows.scale[r] = scale;
      if (!(scale > 0.0f)) {
        __builtin_memset(q, 128, static_cast<size_t>(rows.num_cols));
        continue;
      }
      const Int8Divisor<S> divisor(scale);
      const auto offset = S::Set(static_cast<float>(rows.input_offset));
      for (int64_t i = 0; i < rows.num_cols; i += S::kLanes) {
        const int64_t left = rows.num_cols - i;
        const auto quotient = divisor.Divide(LoadUpTo<S>(x + i, left < S::kLanes ? left : S::kLanes));
        S::StoreInt8(q + i, S::Min(S::Max(S::Add(quotient, offset), S::Set(-128.0f)), S::Set(127.0f)));
      }
    }
  });
}

}  // namespace
}  // namespace penstock
