// Rows and tiles in the form that vec_product.h wants them: conversion of rows, and packing of operands into
// panels. For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/vec_inline.h"
#include "kernels/cpu/vec_product.h"
#include "tensor/bf16.h"
#include "tensor/dtype.h"

namespace penstock {
namespace {

// --- rows ----------------------------------------------------------------------------------------

template <class S, typename T>
PENSTOCK_INLINE typename S::Vec LoadRow(const T* p) {
  if constexpr (std::is_same_v<T, float>)
    return S::Load(p);
  else
    return S::LoadBf16(p);
}
template <class S, typename T>
PENSTOCK_INLINE void StoreRow(T* p, typename S::Vec v) {
  if constexpr (std::is_same_v<T, float>)
    S::Store(p, v);
  else
    S::StoreBf16(p, v);
}
PENSTOCK_INLINE float ScalarToFloat(float x) { return x; }
PENSTOCK_INLINE float ScalarToFloat(Bf16 x) { return ToFloat(x); }
PENSTOCK_INLINE void StoreScalar(float* p, float x) { *p = x; }
PENSTOCK_INLINE void StoreScalar(Bf16* p, float x) { *p = ToBf16(x); }

// to[i] = from[i] * factor. May be in place where To is not longer than From.
template <class S, typename From, typename To>
static void ScaleRow(const From* from, To* to, int64_t count, float factor) {
  const typename S::Vec factors = S::Set(factor);
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) StoreRow<S>(to + i, S::Mul(LoadRow<S>(from + i), factors));
  for (; i < count; ++i) StoreScalar(to + i, ScalarToFloat(from[i]) * factor);
}

template <class S, typename From, typename To>
static void ConvertRow(const From* from, To* to, int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, count * sizeof(To));
  } else {
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) StoreRow<S>(to + i, LoadRow<S>(from + i));
    for (; i < count; ++i) StoreScalar(to + i, ScalarToFloat(from[i]));
  }
}

// Elements [offset, offset + count) of a row of `dtype`, and zeros up to `padded`.
template <class W>
static void ReadElements(const void* row, DType dtype, int64_t offset, int64_t count, int64_t padded,
                         typename W::Element* to) {
  using S = typename W::Simd;
  if (dtype == DType::kF32)
    ConvertRow<S>(static_cast<const float*>(row) + offset, to, count);
  else
    ConvertRow<S>(static_cast<const Bf16*>(row) + offset, to, count);
  if (padded > count) std::memset(static_cast<void*>(to + count), 0, (padded - count) * sizeof(*to));
}

// from * factor to elements [offset, offset + count) of a row of `dtype`.
template <class S>
static void WriteElements(const float* from, float factor, void* row, DType dtype, int64_t offset,
                          int64_t count) {
  if (dtype == DType::kF32)
    ScaleRow<S>(from, static_cast<float*>(row) + offset, count, factor);
  else
    ScaleRow<S>(from, static_cast<Bf16*>(row) + offset, count, factor);
}

// --- panels --------------------------------------------------------------------------------------

// Panels rows from word row `row`, columns [column, column + num_columns), from rows of an operand. `stride`
// is the operand's number of columns; `num_rows` rows of it are read; num_columns is a multiple of 16.
template <class W, typename CacheT>
static void PackOperand(const OperandWord<CacheT>* from, int64_t stride, int64_t num_rows,
                        int64_t num_columns, const Panels<W>& to, int64_t row, int64_t column) {
  using S = typename W::Simd;
  constexpr int64_t kRowsAtOnce = 8;  // reads stay close to sequential, and so do the writes to each panel
  constexpr int64_t kRowsOut = kOperandDepth<CacheT> / W::kPerWord;
  for (int64_t begin = 0; begin < num_rows; begin += kRowsAtOnce) {
    const int64_t end = begin + kRowsAtOnce < num_rows ? begin + kRowsAtOnce : num_rows;
    for (int64_t c = 0; c < num_columns; c += 16) {
      const OperandWord<CacheT>* source = from + begin * stride + c;
      typename W::Word* target = to.At(row + begin * kRowsOut, column + c);
      const int64_t width = to.Width(column + c);
      for (int64_t r = begin; r < end; ++r, source += stride, target += width * kRowsOut) {
        Unroll<16 / S::kLanes>([&](auto v) __attribute__((always_inline)) {
          constexpr int kColumn = v * S::kLanes;
          if constexpr (kRowsOut == 2) {
            typename S::Vec low, high;
            S::LoadPairs(source + kColumn, low, high);
            S::Store(target + kColumn, low);
            S::Store(target + width + kColumn, high);
          } else {
            std::memcpy(target + kColumn, source + kColumn, S::kLanes * 4);
          }
        });
      }
    }
  }
}

// Panels from row-major rows of elements, transposed: rows of `from` become columns. num_columns is a
// multiple of 16 and so is the number of elements of a row.
template <class W>
static void PackTransposed(const typename W::Element* from, int64_t stride, int64_t num_elements,
                           int64_t num_columns, const Panels<W>& to, int64_t row) {
  const int64_t word_stride = stride / W::kPerWord;
  const auto* words = reinterpret_cast<const uint32_t*>(from);
  for (int64_t column = 0; column < num_columns; column += 8) {
    for (int64_t w = 0; w < num_elements / W::kPerWord; w += 8) {
      W::Simd::Transpose8x8(words + column * word_stride + w, word_stride,
                            reinterpret_cast<uint32_t*>(to.At(row + w, column)), to.Width(column));
    }
  }
}

// Panels from row-major rows of elements, as they are: element [k][column]. num_columns is a multiple of 16.
// Of pairs, an odd last row needs a row of zeros behind it.
template <class W>
static void PackRows(const typename W::Element* from, int64_t stride, int64_t num_rows, int64_t num_columns,
                     const Panels<W>& to) {
  using S = typename W::Simd;
  for (int64_t c = 0; c < num_columns; c += 16) {
    typename W::Word* target = to.At(0, c);
    const int64_t width = to.Width(c);
    for (int64_t r = 0; r < num_rows; r += W::kPerWord, target += width) {
      const typename W::Element* source = from + r * stride + c;
      if constexpr (W::kPerWord == 1)
        std::memcpy(target, source, 64);
      else
        S::InterleaveRows(source, source + stride, target);
    }
  }
}

// Scratch memory, handed out piece by piece. With no memory it counts what would be needed.
class ScratchPieces {
 public:
  explicit ScratchPieces(void* base) : base_(base ? reinterpret_cast<uintptr_t>(base) : 64), next_(base_) {}

  template <typename T>
  T* Take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return next_ - base_; }

 private:
  uintptr_t base_;
  uintptr_t next_;
};

}  // namespace
}  // namespace penstock
