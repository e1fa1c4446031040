// Reading and writing of elements of every float type.
//
// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>

#include "base/check.h"
#include "kernels/ref/ref_kernels.h"

namespace penstock {
namespace {

// Round to nearest, ties to even, as nearbyint does in the default mode.
uint16_t FloatToHalf(float value) {
  const uint16_t sign = static_cast<uint16_t>((std::bit_cast<uint32_t>(value) >> 16) & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < std::ldexp(1.0f, -14)) {
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))));
  }
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);                                // in [0.5, 1)
  const auto mantissa = static_cast<uint32_t>(std::nearbyint(std::ldexp(fraction, 11)));  // [1024, 2048]
  return static_cast<uint16_t>(sign + ((exponent + 13) << 10) + mantissa);  // a carry moves the exponent up
}

}  // namespace

std::vector<float> ReadFloats(const void* data, DType dtype, int64_t count) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    switch (dtype) {
      case DType::kF32:
        values[i] = static_cast<const float*>(data)[i];
        break;
      case DType::kF16:
        values[i] = HalfToFloat(static_cast<const uint16_t*>(data)[i]);
        break;
      case DType::kBF16:
        values[i] = ToFloat(static_cast<const Bf16*>(data)[i]);
        break;
      default:
        CHECK(false) << "not a float type: " << DTypeName(dtype);
    }
  }
  return values;
}

void WriteFloats(void* data, DType dtype, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case DType::kF32:
        static_cast<float*>(data)[i] = values[i];
        break;
      case DType::kF16:
        static_cast<uint16_t*>(data)[i] = FloatToHalf(values[i]);
        break;
      case DType::kBF16:
        static_cast<Bf16*>(data)[i] = ToBf16(values[i]);
        break;
      default:
        CHECK(false) << "not a float type: " << DTypeName(dtype);
    }
  }
}

std::vector<float> ReadRow(const ConstMat& mat, int64_t row) {
  return ReadFloats(mat.RowPtr(row), mat.dtype, mat.cols);
}

void WriteRow(const Mat& mat, int64_t row, std::span<const float> values, int64_t col) {
  WriteFloats(static_cast<std::byte*>(mat.RowPtr(row)) + col * DTypeBytes(mat.dtype), mat.dtype, values);
}

}  // namespace penstock
