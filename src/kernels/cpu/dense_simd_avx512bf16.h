// DenseAvx512Bf16: DenseAvx512 with products by the dot products of bf16 pairs and of four 8-bit integers.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/dense_simd_avx512.h"
#include "kernels/cpu/int8_simd_avx512vnni.h"
#include "kernels/cpu/vec_avx512bf16.h"

namespace penstock {
namespace {

struct DenseAvx512Bf16 : Int8VnniOn<DenseAvx512On<SimdAvx512Bf16>> {
  static constexpr bool kHasDot = true;
  static constexpr int kDotRows = 6;  // 24 accumulators; 4 loads of weights for 24 dot products
  static constexpr int kDotVecs = 4;
  static constexpr int64_t kDotBlockK = 3072;  // of a panel: 384 KiB
};

}  // namespace
}  // namespace penstock
