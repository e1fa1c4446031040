// Row operations and the packing of weights, written once over a Dense type (dense_simd_generic.h).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/row_access.h"

namespace penstock {
namespace {

// Calls body with a null pointer of the element type: f32 or bf16.
template <typename Body>
[[gnu::always_inline]] inline void WithType(DType dtype, const Body& body) {
  if (dtype == DType::kF32)
    body(static_cast<float*>(nullptr));
  else
    body(static_cast<Bf16*>(nullptr));
}

template <typename T>
PENSTOCK_INLINE const T* RowOf(ConstRowsView view, int64_t row) {
  return static_cast<const T*>(view.data) + row * view.stride;
}
template <typename T>
PENSTOCK_INLINE T* RowOf(RowsView view, int64_t row) {
  return static_cast<T*>(view.data) + row * view.stride;
}

template <typename S>
void Convert(const void* src, DType src_dtype, void* dst, DType dst_dtype, int64_t count) {
  WithType(dst_dtype, [&](auto* dst_type) __attribute__((always_inline)) {
    auto* to = static_cast<decltype(dst_type)>(dst);
    if (src_dtype == DType::kF32)
      ConvertRow<S>(static_cast<const float*>(src), to, count);
    else if (src_dtype == DType::kBF16)
      ConvertRow<S>(static_cast<const Bf16*>(src), to, count);
    else
      ConvertRow<S>(static_cast<const Half*>(src), to, count);
  });
}

template <typename S, typename T>
float SquareSum(const T* x, int64_t count) {
  typename S::Vec sums[4] = {S::Zero(), S::Zero(), S::Zero(), S::Zero()};
  int64_t i = 0;
  for (; i + 4 * S::kLanes <= count; i += 4 * S::kLanes) {
    for (int j = 0; j < 4; ++j) {
      const auto v = LoadVec<S>(x + i + j * S::kLanes);
      sums[j] = S::MulAdd(v, v, sums[j]);
    }
  }
  for (; i < count; i += S::kLanes) {
    const auto v = LoadUpTo<S>(x + i, count - i < S::kLanes ? count - i : S::kLanes);
    sums[0] = S::MulAdd(v, v, sums[0]);
  }
  return S::ReduceAdd(S::Add(S::Add(sums[0], sums[1]), S::Add(sums[2], sums[3])));
}

template <typename S>
void RmsNorm(ConstRowsView x, const float* weight, const float* bias, float eps, RowsView y, DType dtype,
             int64_t num_rows, int64_t num_cols) {
  WithType(dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (int64_t r = 0; r < num_rows; ++r) {
      const T* row = RowOf<T>(x, r);
      const float mean = SquareSum<S>(row, num_cols) / static_cast<float>(num_cols);
      const auto inverse = S::Set(1.0f / __builtin_sqrtf(mean + eps));
      MapRow<S>(row, RowOf<T>(y, r), num_cols,
                [&](typename S::Vec v, int64_t i, int64_t n) __attribute__((always_inline)) {
                  const auto normed = S::Mul(v, inverse), w = LoadUpTo<S>(weight + i, n);
                  return bias == nullptr ? S::Mul(normed, w) : S::MulAdd(normed, w, LoadUpTo<S>(bias + i, n));
                });
    }
  });
}

template <typename S>
void AddRows(ConstRowsView x, RowsView y, DType dtype, int64_t num_rows, int64_t num_cols) {
  WithType(dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (int64_t r = 0; r < num_rows; ++r) {
      T* sum = RowOf<T>(y, r);
      MapRow<S>(RowOf<T>(x, r), sum, num_cols,
                [&](typename S::Vec v, int64_t i, int64_t n)
                    __attribute__((always_inline)) { return S::Add(LoadUpTo<S>(sum + i, n), v); });
    }
  });
}

// One head, pairs (i, i + half).
template <typename S, typename T>
PENSTOCK_INLINE void RotateHalves(T* head, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; i += S::kLanes) {
    const int64_t n = half - i < S::kLanes ? half - i : S::kLanes;
    const auto a = LoadUpTo<S>(head + i, n), b = LoadUpTo<S>(head + half + i, n);
    const auto c = LoadUpTo<S>(cos + i, n), s = LoadUpTo<S>(sin + i, n);
    const auto new_a = S::MulSub(a, c, S::Mul(b, s)), new_b = S::MulAdd(b, c, S::Mul(a, s));
    if (n == S::kLanes) {
      StoreVec<S>(head + i, new_a);
      StoreVec<S>(head + half + i, new_b);
    } else {
      StoreFirst<S>(head + i, new_a, n);
      StoreFirst<S>(head + half + i, new_b, n);
    }
  }
}

// One head, pairs (2i, 2i + 1).
template <typename S, typename T>
PENSTOCK_INLINE void RotatePairs(T* head, const float* cos, const float* sin, int64_t dim) {
  constexpr int kPairs = S::kLanes / 2;
  int64_t i = 0;
  for (; i + S::kLanes <= dim; i += S::kLanes) {
    const auto v = LoadVec<S>(head + i);
    const auto c = S::LoadTwice(cos + i / 2), s = S::LoadTwice(sin + i / 2);
    StoreVec<S>(head + i, S::MulSubAdd(v, c, S::Mul(S::SwapPairs(v), s)));
  }
  if (i == dim) return;
  float last_cos[kPairs] = {}, last_sin[kPairs] = {};
  for (int64_t j = i / 2; j < dim / 2; ++j) {
    last_cos[j - i / 2] = cos[j];
    last_sin[j - i / 2] = sin[j];
  }
  const auto v = LoadFirst<S>(head + i, dim - i);
  const auto c = S::LoadTwice(last_cos), s = S::LoadTwice(last_sin);
  StoreFirst<S>(head + i, S::MulSubAdd(v, c, S::Mul(S::SwapPairs(v), s)), dim - i);
}

template <typename S>
void Rope(const RopeRows& rows) {
  WithType(rows.dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t half = rows.dim / 2;
    for (int64_t r = 0; r < rows.num_rows; ++r) {
      const float* cos = rows.cos + rows.positions[r] * half;
      const float* sin = rows.sin + rows.positions[r] * half;
      T* head = RowOf<T>(rows.x, r);
      for (int32_t h = 0; h < rows.num_heads; ++h, head += rows.head_stride) {
        if (rows.interleaved)
          RotatePairs<S>(head, cos, sin, rows.dim);
        else
          RotateHalves<S>(head, cos, sin, half);
      }
    }
  });
}

template <typename S>
void SiluMul(ConstRowsView x, RowsView y, DType dtype, int64_t num_rows, int64_t num_cols) {
  WithType(dtype, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (int64_t r = 0; r < num_rows; ++r) {
      const T* up = RowOf<T>(x, r) + num_cols;
      // From memory, two runs of a row are too short for the processor's own prefetching.
      const T* next = RowOf<T>(x, r + 1 < num_rows ? r + 1 : r);
      MapRow<S>(RowOf<T>(x, r), RowOf<T>(y, r), num_cols,
                [&](typename S::Vec gate, int64_t i, int64_t n) __attribute__((always_inline)) {
                  __builtin_prefetch(next + i);
                  __builtin_prefetch(next + num_cols + i);
                  // gate / (1 + 2^(-gate * log2 e)); the power stays finite, so that a very low gate gives -0
                  const auto power = S::Exp2(S::Min(S::Mul(gate, S::Set(-1.44269504f)), S::Set(126.0f)));
                  const auto silu = S::Div(gate, S::Add(S::Set(1.0f), power));
                  return S::Mul(silu, LoadUpTo<S>(up + i, n));
                });
    }
  });
}

template <typename S>
void AddScaled(const float* x, float weight, float* sum, int64_t count) {
  AddScaledRow<S>(x, weight, sum, count);
}

inline int32_t CopyAndSum(const int8_t* src, void* dst, int64_t count) {
  __builtin_memcpy(dst, src, static_cast<size_t>(count));
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += src[i];
  return sum;
}

// Words of k are taken kChunk at a time: converted row by row, then transposed into the panel.
template <typename S>
void PackOnePanel(const PackPanel& panel) {
  constexpr int kChunk = 32;  // words: 128 bytes of a row
  const bool is_int8 = panel.w.dtype == DType::kI8;
  const int per_word = is_int8 ? 4 : panel.w.dtype == DType::kF32 ? 1 : 2;
  auto* dst = static_cast<uint32_t*>(panel.dst);
  alignas(64) uint32_t words[S::kPanelCols * kChunk];
  for (int r = 0; is_int8 && r < S::kPanelCols; ++r) panel.row_sums[r] = 0;
  for (int64_t k = 0; k < panel.w.k_padded; k += kChunk * per_word) {
    const int64_t left = panel.w.k_padded - k;
    const int64_t num_words = left / per_word < kChunk ? left / per_word : kChunk;
    int64_t count = panel.w.k - k < num_words * per_word ? panel.w.k - k : num_words * per_word;
    if (count < 0) count = 0;
    for (int r = 0; r < S::kPanelCols; ++r) {
      uint32_t* row = words + r * kChunk;
      const WeightRow& src = panel.rows[r];
      if (count < num_words * per_word || src.data == nullptr)
        __builtin_memset(row, 0, kChunk * sizeof(*row));
      if (src.data == nullptr) continue;
      if (is_int8) {
        panel.row_sums[r] += CopyAndSum(static_cast<const int8_t*>(src.data) + k, row, count);
        continue;
      }
      const size_t src_bytes = src.dtype == DType::kF32 ? 4 : 2;
      Convert<S>(static_cast<const char*>(src.data) + k * src_bytes, src.dtype, row, panel.w.dtype, count);
    }
    for (int64_t i = 0; i < num_words; i += 8) {  // num_words is a multiple of 8: k_padded is of 32
      for (int r = 0; r < S::kPanelCols; r += 8) {
        S::Transpose8x8(words + r * kChunk + i, kChunk, dst + i * S::kPanelCols + r, S::kPanelCols);
      }
    }
    dst += num_words * S::kPanelCols;
  }
}

}  // namespace
}  // namespace penstock
