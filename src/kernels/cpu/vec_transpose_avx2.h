// Transpose8x8 of 32-bit words by AVX, shared by vec_avx2.h and vec_avx512.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/simd_include.h"
#include "kernels/cpu/vec_inline.h"

namespace penstock {
namespace {

// dst[c * dst_stride + r] = src[r * src_stride + c] for r, c in [0, 8).
PENSTOCK_INLINE void Transpose8x8Avx(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                     int64_t dst_stride) {
  __m256 rows[8], pairs[8], quads[8];
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(src + i * src_stride));
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    quads[4 * i] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0x44);
    quads[4 * i + 1] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0xee);
    quads[4 * i + 2] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0x44);
    quads[4 * i + 3] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    float* low = reinterpret_cast<float*>(dst + i * dst_stride);
    float* high = reinterpret_cast<float*>(dst + (i + 4) * dst_stride);
    _mm256_storeu_ps(low, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20));
    _mm256_storeu_ps(high, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31));
  }
}

}  // namespace
}  // namespace penstock
