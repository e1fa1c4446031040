// Reading and writing rows of f32, bf16 or f16 as vectors of fp32, any length. For the per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/unroll.h"
#include "kernels/cpu/vec_generic.h"

namespace penstock {
namespace {

struct Half {  // IEEE half
  uint16_t bits;
};

template <typename S>
PENSTOCK_INLINE typename S::Vec LoadVec(const float* p) {
  return S::Load(p);
}
template <typename S>
PENSTOCK_INLINE typename S::Vec LoadVec(const Bf16* p) {
  return S::LoadBf16(p);
}
template <typename S>
PENSTOCK_INLINE typename S::Vec LoadVec(const Half* p) {
  return S::LoadHalf(&p->bits);
}
template <typename S>
PENSTOCK_INLINE void StoreVec(float* p, typename S::Vec v) {
  S::Store(p, v);
}
template <typename S>
PENSTOCK_INLINE void StoreVec(Bf16* p, typename S::Vec v) {
  S::StoreBf16(p, v);
}

// The first `count` < kLanes elements; the others are zero.
template <typename S, typename T>
PENSTOCK_INLINE typename S::Vec LoadFirst(const T* p, int64_t count) {
  T padded[S::kLanes] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return LoadVec<S>(padded);
}
template <typename S, typename T>
PENSTOCK_INLINE void StoreFirst(T* p, typename S::Vec v, int64_t count) {
  T padded[S::kLanes];
  StoreVec<S>(padded, v);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

// y[i] = fn(x[i], i) vector by vector, for i in [0, count). fn gets the vector, the index of its first
// element and how many elements of it count.
template <typename S, typename X, typename Y, typename Fn>
PENSTOCK_INLINE void MapRow(const X* x, Y* y, int64_t count, const Fn& fn) {
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes)
    StoreVec<S>(y + i, fn(LoadVec<S>(x + i), i, int64_t{S::kLanes}));
  if (i < count) StoreFirst<S>(y + i, fn(LoadFirst<S>(x + i, count - i), i, count - i), count - i);
}

// As LoadFirst, for count up to kLanes.
template <typename S, typename T>
PENSTOCK_INLINE typename S::Vec LoadUpTo(const T* p, int64_t count) {
  return count == S::kLanes ? LoadVec<S>(p) : LoadFirst<S>(p, count);
}

template <typename S, typename X, typename Y>
inline void ConvertRow(const X* x, Y* y, int64_t count) {
  MapRow<S>(x, y, count,
            [](typename S::Vec v, int64_t, int64_t) __attribute__((always_inline)) { return v; });
}
template <typename S>
inline void ConvertRow(const Bf16* x, Bf16* y, int64_t count) {
  __builtin_memcpy(y, x, static_cast<size_t>(count) * sizeof(Bf16));
}

// y += weight * x.
template <typename S>
inline void AddScaledRow(const float* x, float weight, float* y, int64_t count) {
  const auto factor = S::Set(weight);
  MapRow<S>(x, y, count, [&](typename S::Vec v, int64_t i, int64_t n) __attribute__((always_inline)) {
    return S::MulAdd(factor, v, LoadUpTo<S>(y + i, n));
  });
}

// y = sums (+ bias) (+ y).
template <typename S, typename Y>
inline void FinishRow(const float* sums, const float* bias, bool accumulate, Y* y, int64_t count) {
  MapRow<S>(sums, y, count, [&](typename S::Vec v, int64_t i, int64_t n) __attribute__((always_inline)) {
    if (bias != nullptr) v = S::Add(v, LoadUpTo<S>(bias + i, n));
    if (accumulate) v = S::Add(v, LoadUpTo<S>(y + i, n));
    return v;
  });
}

// What becomes of a row of sums of a tile: `cols` columns from `col` on.
template <typename S>
inline void FinishTileRow(const GemmTile& tile, const float* sums, int64_t row, int64_t col, int64_t cols) {
  if (tile.y_rows != nullptr) {
    float* y = static_cast<float*>(tile.y) + tile.y_rows[row] * tile.y_stride + col;
    return AddScaledRow<S>(sums, tile.y_weights[row], y, cols);
  }
  const float* bias = tile.bias != nullptr ? tile.bias + col : nullptr;
  const int64_t offset = row * tile.y_stride + col;
  if (tile.y_dtype == DType::kF32)
    FinishRow<S>(sums, bias, tile.accumulate, static_cast<float*>(tile.y) + offset, cols);
  else
    FinishRow<S>(sums, bias, tile.accumulate, static_cast<Bf16*>(tile.y) + offset, cols);
}

// The same of vectors of sums in registers, all columns there.
template <typename S, int kVecs>
[[gnu::always_inline]] inline void ScatterVecs(const GemmTile& tile, const typename S::Vec (&sums)[kVecs],
                                               int64_t row, int64_t col) {
  float* y = static_cast<float*>(tile.y) + tile.y_rows[row] * tile.y_stride + col;
  const auto weight = S::Set(tile.y_weights[row]);
  Unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
    S::Store(y + v * S::kLanes, S::MulAdd(weight, sums[v], S::Load(y + v * S::kLanes)));
  });
}

// Brings the lines that ScatterVecs of the row will need.
inline void PrefetchScattered(const GemmTile& tile, int64_t row, int64_t col, int64_t num_cols) {
  const float* y = static_cast<const float*>(tile.y) + tile.y_rows[row] * tile.y_stride + col;
  for (int64_t i = 0; i < num_cols; i += 16) __builtin_prefetch(y + i, 1);
}

}  // namespace
}  // namespace penstock
