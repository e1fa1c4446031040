// Products of small matrices, the inner loops of attention, over any Simd type:
//
//   C[rows, n] (+)= A[rows, k] · B[k, n]
//
// A is row-major and broadcast, element by element; B comes in rows of vectors; a register tile of C stays in
// registers for all of k. B has two forms:
//
//   panels    packed in scratch: [n / panel width][k][panel width], so that a panel streams from the L1 cache
//   operand   as it lies in a cache block or a weight (kv_layout.h): [k][n], for bf16 two k to a word
//
// For per-ISA sources only (see vec_generic.h).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cpu/vec_inline.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

// body(0), body(1), …, body(N - 1) with constants: arrays indexed by them stay in registers, which gcc 12
// does not manage with #pragma GCC unroll.
template <typename Body, int... kIndex>
PENSTOCK_INLINE void UnrollIndices(Body&& body, std::integer_sequence<int, kIndex...>) {
  (body(std::integral_constant<int, kIndex>{}), ...);
}
template <int N, typename Body>
PENSTOCK_INLINE void Unroll(Body&& body) {
  UnrollIndices(body, std::make_integer_sequence<int, N>{});
}

// Operands held as fp32: a word of B is one number.
template <class S>
struct FloatWords {
  using Simd = S;
  using Vec = typename S::Vec;
  using Word = float;     // of B, packed
  using Element = float;  // of A
  static constexpr int kPerWord = 1;

  PENSTOCK_INLINE Vec LoadB(const Word* p) { return S::Load(p); }
  PENSTOCK_INLINE Vec BroadcastA(const Element* p) { return S::Set(*p); }
  PENSTOCK_INLINE Vec MulAdd(Vec a, Vec b, Vec acc) { return S::MulAdd(a, b, acc); }

  PENSTOCK_INLINE void StoreElements(Element* p, Vec v) { S::Store(p, v); }
  PENSTOCK_INLINE Vec Exp2(Vec v) { return S::Exp2(v); }
};

// Operands held as bf16, for a Simd with a dot product of pairs: a word of B is two numbers, of k and k + 1.
template <class S>
struct PairWords {
  using Simd = S;
  using Vec = typename S::Vec;
  using Word = uint32_t;
  using Element = Bf16;
  static constexpr int kPerWord = 2;

  PENSTOCK_INLINE typename S::Pairs LoadB(const Word* p) { return S::LoadWords(p); }
  PENSTOCK_INLINE typename S::Pairs BroadcastA(const Element* p) {
    uint32_t word;
    std::memcpy(&word, p, sizeof(word));
    return S::SetWord(word);
  }
  PENSTOCK_INLINE Vec MulAdd(typename S::Pairs a, typename S::Pairs b, Vec acc) {
    return S::DotPairs(a, b, acc);
  }

  PENSTOCK_INLINE void StoreElements(Element* p, Vec v) { S::StoreBf16(p, v); }
  PENSTOCK_INLINE Vec Exp2(Vec v) { return S::Exp2ForBf16(v); }
};

// Operands held as bytes, for a Simd with a dot product of four: see attention_int8.h.
template <class S>
struct ByteWords {
  using Simd = S;
  using Word = uint32_t;
  using Element = int8_t;
  static constexpr int kPerWord = 4;
};

// One row of B in words, against M rows of A.
template <class W>
struct WordStep {
  using Word = typename W::Word;
  using Element = typename W::Element;
  using Simd = typename W::Simd;
  using Vec = typename Simd::Vec;
  static constexpr int kDepth = W::kPerWord;  // numbers of k that a row of B has

  template <int M, int NV>
  PENSTOCK_INLINE void Run(const Element* a, int64_t lda, const Word* b, Vec* acc) {
    decltype(W::LoadB(b)) columns[NV];
    Unroll<NV>([&](auto n) __attribute__((always_inline)) { columns[n] = W::LoadB(b + n * Simd::kLanes); });
    Unroll<M>([&](auto m) __attribute__((always_inline)) {
      const auto broadcast = W::BroadcastA(a + m * lda);
      Unroll<NV>([&](auto n) __attribute__((always_inline)) {
        acc[m * NV + n] = W::MulAdd(broadcast, columns[n], acc[m * NV + n]);
      });
    });
  }
};

// One row of a bf16 operand, made two rows of fp32 on the way.
template <class S>
struct DecodeStep {
  using Word = uint32_t;
  using Element = float;
  using Simd = S;
  using Vec = typename S::Vec;
  static constexpr int kDepth = 2;

  template <int M, int NV>
  PENSTOCK_INLINE void Run(const Element* a, int64_t lda, const Word* b, Vec* acc) {
    Unroll<2>([&](auto half) __attribute__((always_inline)) {
      Vec columns[NV];
      Unroll<NV>([&](auto n) __attribute__((always_inline)) {
        Vec other;
        if constexpr (half == 0)
          S::LoadPairs(b + n * S::kLanes, columns[n], other);
        else
          S::LoadPairs(b + n * S::kLanes, other, columns[n]);
      });
      Unroll<M>([&](auto m) __attribute__((always_inline)) {
        const Vec broadcast = S::Set(a[m * lda + half]);
        Unroll<NV>([&](auto n) __attribute__((always_inline)) {
          acc[m * NV + n] = S::MulAdd(broadcast, columns[n], acc[m * NV + n]);
        });
      });
    });
  }
};

// Rows of B that lie in pieces of `piece_rows` rows each, one behind the other; rows of a piece are `stride`
// words apart.
template <typename Word>
struct PieceRows {
  const Word* const* pieces = nullptr;
  int64_t piece_rows = 0;
  int64_t offset = 0;  // words, from the begin of a piece
  int64_t stride = 0;
};

// The register tile: C[M, NV vectors] (+)= A[M, steps * kDepth] · B[steps rows, NV vectors].
template <class Step, int M, int NV>
[[gnu::noinline]] static void Tile(const typename Step::Element* a, int64_t lda,
                                   PieceRows<typename Step::Word> b, int64_t steps, float* c, int64_t ldc,
                                   bool accumulate) {
  using S = typename Step::Simd;
  typename S::Vec acc[M * NV];
  Unroll<M * NV>([&](auto i) __attribute__((always_inline)) { acc[i] = S::Zero(); });
  if (accumulate) {
    Unroll<M * NV>([&](auto i) __attribute__((always_inline)) {
      acc[i] = S::Load(c + (i / NV) * ldc + (i % NV) * S::kLanes);
    });
  }
  for (int64_t left = steps; left > 0; left -= b.piece_rows, ++b.pieces) {
    const typename Step::Word* row = *b.pieces + b.offset;
    const int64_t rows = left < b.piece_rows ? left : b.piece_rows;
    for (int64_t k = 0; k < rows; ++k, a += Step::kDepth, row += b.stride)
      Step::template Run<M, NV>(a, lda, row, acc);
  }
  Unroll<M * NV>([&](auto i) __attribute__((always_inline)) {
    S::Store(c + (i / NV) * ldc + (i % NV) * S::kLanes, acc[i]);
  });
}

// Tile for sizes known at run time: rows in [1, kMaxRows], vecs in [1, kMaxVecs].
template <class Step, int kMaxRows, int kMaxVecs, typename... Args>
PENSTOCK_INLINE void AnyTile(int rows, int vecs, Args... args) {
  using Function = void (*)(const typename Step::Element*, int64_t, PieceRows<typename Step::Word>, int64_t,
                            float*, int64_t, bool);
  static constexpr auto kTable = []<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    struct Table {
      Function at[kMaxRows * kMaxVecs];
    };
    return Table{{&Tile<Step, kIndex / kMaxVecs + 1, kIndex % kMaxVecs + 1>...}};
  }(std::make_integer_sequence<int, kMaxRows * kMaxVecs>{});
  kTable.at[(rows - 1) * kMaxVecs + vecs - 1](args...);
}

// B in panels. `depth` is in words.
template <class W>
struct Panels {
  using Word = typename W::Word;
  static constexpr int kWidth = W::Simd::kTileVecs * W::Simd::kLanes;

  Word* data = nullptr;
  int64_t depth = 0;
  int64_t num_columns = 0;  // a multiple of 16; the last panel may be narrower than the others

  Word* Panel(int64_t column) const { return data + column / kWidth * kWidth * depth; }
  int64_t Width(int64_t column) const {
    const int64_t left = num_columns - column / kWidth * kWidth;
    return left < kWidth ? left : kWidth;
  }
  Word* At(int64_t word_row, int64_t column) const {
    return Panel(column) + word_row * Width(column) + column % kWidth;
  }
};

// The step for an operand of cache type CacheT against rows of W.
template <class W, typename CacheT>
using OperandStep = std::conditional_t<std::is_same_v<CacheT, Bf16> && W::kPerWord == 1,
                                       DecodeStep<typename W::Simd>, WordStep<W>>;

// The type of the words of an operand, and the numbers of k in each.
template <typename CacheT>
using OperandWord = std::conditional_t<std::is_same_v<CacheT, float>, float, uint32_t>;
template <typename CacheT>
constexpr int64_t kOperandDepth = 4 / static_cast<int64_t>(sizeof(CacheT));

// C (+)= A · B for few rows, where B is an operand of `steps` rows and `num_columns` columns, a multiple
// of 16.
template <class W, typename CacheT>
static void OperandProduct(const typename W::Element* a, int64_t lda, int64_t num_rows,
                           const OperandWord<CacheT>* b, int64_t stride, int64_t steps, int64_t num_columns,
                           float* c, int64_t ldc, bool accumulate) {
  using S = typename W::Simd;
  using Step = OperandStep<W, CacheT>;
  const int64_t max_vecs = num_rows <= 2 ? S::kThinVecs : S::kTileVecs;
  for (int64_t column = 0; column < num_columns; column += max_vecs * S::kLanes) {
    const int64_t left = (num_columns - column) / S::kLanes;
    const int vecs = static_cast<int>(left < max_vecs ? left : max_vecs);
    const PieceRows<OperandWord<CacheT>> rows_of_b{&b, steps, column, stride};
    for (int64_t r = 0; r < num_rows; r += S::kTileRows) {
      const int rows = static_cast<int>(num_rows - r < S::kTileRows ? num_rows - r : S::kTileRows);
      if (num_rows <= 2) {
        AnyTile<Step, 2, S::kThinVecs>(rows, vecs, a + r * lda, lda, rows_of_b, steps, c + r * ldc + column,
                                       ldc, accumulate);
      } else {
        AnyTile<Step, S::kTileRows, S::kTileVecs>(rows, vecs, a + r * lda, lda, rows_of_b, steps,
                                                  c + r * ldc + column, ldc, accumulate);
      }
    }
  }
}

// Rows of a panel that are used at once, so that they stay in the L1 cache for all rows of A: 16 KiB.
template <class W>
constexpr int64_t kPanelRows = (16 << 10) / (Panels<W>::kWidth * 4);

// C[num_rows, b.num_columns] = A · B.
template <class W>
static void PanelProduct(const typename W::Element* a, int64_t lda, int64_t num_rows, const Panels<W>& b,
                         float* c, int64_t ldc) {
  using S = typename W::Simd;
  for (int64_t row = 0; row < b.depth; row += kPanelRows<W>) {
    const int64_t words = b.depth - row < kPanelRows<W> ? b.depth - row : kPanelRows<W>;
    for (int64_t column = 0; column < b.num_columns; column += Panels<W>::kWidth) {
      const int64_t width = b.Width(column);
      const typename W::Word* panel = b.Panel(column) + row * width;
      for (int64_t r = 0; r < num_rows; r += S::kTileRows) {
        const int rows = static_cast<int>(num_rows - r < S::kTileRows ? num_rows - r : S::kTileRows);
        AnyTile<WordStep<W>, S::kTileRows, S::kTileVecs>(
            rows, static_cast<int>(width / S::kLanes), a + r * lda + row * W::kPerWord, lda,
            PieceRows<typename W::Word>{&panel, words, 0, width}, words, c + r * ldc + column, ldc, row > 0);
      }
    }
  }
}

}  // namespace
}  // namespace penstock
