// The tasks of attention_ops.h over any Simd type, and MakeAttentionOps, the table of them.
//
// Templates are over W, the form of packed operands (vec_product.h), and CacheT, the type of the cache. For per-ISA
// sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_flash.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int64_t kThinRows = 16;  // up to here operands are read where they lie: packing would cost more

template <typename CacheT>
PENSTOCK_INLINE const CacheT* BlockPart(const KeySource& source, int64_t pos, size_t offset) {
  const int64_t block = source.block_ids[pos / source.cache.block_size];
  return reinterpret_cast<const CacheT*>(source.cache.data + block * source.cache.block_bytes + offset);
}

// body(pos, count) for the pieces of [begin, end) that lie in one block each.
template <typename Body>
PENSTOCK_INLINE void ForBlockPieces(const KeySource& source, int64_t begin, int64_t end, Body&& body) {
  for (int64_t pos = begin; pos < end;) {
    const int64_t block_end = (pos / source.cache.block_size + 1) * source.cache.block_size;
    const int64_t piece_end = block_end < end ? block_end : end;
    body(pos, piece_end - pos);
    pos = piece_end;
  }
}

PENSTOCK_INLINE int64_t PadTo16(int64_t n) { return (n + 15) / 16 * 16; }

// --- tiles of keys and values ----------------------------------------------------------------------------------

template <class W>
struct KeyTile {
  Panels<W> keys;
  Panels<W> values;

  KeyTile(ScratchPieces& scratch, int64_t key_dim, int64_t value_dim, int64_t key_tile) {
    keys.data = scratch.Take<typename W::Word>(key_dim / W::kPerWord * key_tile);
    keys.depth = key_dim / W::kPerWord;
    values.data = scratch.Take<typename W::Word>(key_tile / W::kPerWord * value_dim);
    values.num_columns = value_dim;
  }
  void SetKeys(int64_t num_keys) {
    keys.num_columns = PadTo16(num_keys);
    values.depth = PadTo16(num_keys) / W::kPerWord;
  }
};

// Keys [key0, key0 + num_keys) of a paged cache of operands.
template <class W, typename CacheT>
static void LoadPagedTile(const KeySource& source, int64_t key0, int64_t num_keys, KeyTile<W>& tile) {
  const int64_t key_dim = tile.keys.depth * W::kPerWord, value_dim = tile.values.num_columns;
  const int64_t block_size = source.cache.block_size;
  tile.SetKeys(num_keys);
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const auto* keys = BlockPart<OperandWord<CacheT>>(source, pos, source.key_offset);
    const auto* values = BlockPart<OperandWord<CacheT>>(source, pos, source.value_offset);
    constexpr int64_t kDepth = kOperandDepth<CacheT>;
    PackOperand<W, CacheT>(keys + pos % block_size, block_size, key_dim / kDepth, PadTo16(count), tile.keys, 0,
                           pos - key0);
    PackOperand<W, CacheT>(values + pos % block_size / kDepth * value_dim, value_dim, (count + kDepth - 1) / kDepth,
                           value_dim, tile.values, (pos - key0) / W::kPerWord, 0);
  });
}

// Asks for the share [begin, end) / whole of the tile of keys [key0, key0 + num_keys).
template <typename CacheT>
static void PrefetchPagedTile(const KeySource& source, int64_t key0, int64_t num_keys, int64_t key_dim,
                              int64_t value_dim, int64_t begin, int64_t end, int64_t whole) {
  const int64_t block_size = source.cache.block_size;
  auto prefetch = [&](const std::byte* data, int64_t bytes) {
    for (int64_t i = bytes * begin / whole / 64 * 64; i < bytes * end / whole; i += 64) {
      __builtin_prefetch(data + i, 0, 2);
    }
  };
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    if (count < block_size) return;  // keys of a block lie together: a part of them is in too many places
    prefetch(BlockPart<std::byte>(source, pos, source.key_offset), count * key_dim * sizeof(CacheT));
    prefetch(BlockPart<std::byte>(source, pos, source.value_offset), count * value_dim * sizeof(CacheT));
  });
}

// Keys [key0, key0 + num_keys) of a paged cache for few rows: what FlashTile does, without packing. Here memory is
// the limit, so the next tile, of `next_keys` keys, is asked for piece by piece on the way.
template <class W, typename CacheT>
static void FlashPagedRows(const typename W::Element* q, int64_t key_dim, int64_t num_rows, const KeySource& source,
                           const Causality& seen, int64_t next_keys, float scale_log2, float* scores, int64_t lds,
                           const FlashState& state) {
  constexpr int64_t kDepth = kOperandDepth<CacheT>;
  const int64_t block_size = source.cache.block_size, value_dim = state.value_dim;
  auto prefetch = [&](int64_t pos, int64_t count, int64_t half) {
    const int64_t begin = half * seen.num_keys + pos - seen.key0;
    PrefetchPagedTile<CacheT>(source, seen.key0 + seen.num_keys, next_keys, key_dim, value_dim, begin, begin + count,
                              2 * seen.num_keys);
  };
  ForBlockPieces(source, seen.key0, seen.key0 + seen.num_keys, [&](int64_t pos, int64_t count) {
    prefetch(pos, count, 0);
    const auto* keys = BlockPart<OperandWord<CacheT>>(source, pos, source.key_offset) + pos % block_size;
    OperandProduct<W, CacheT>(q, key_dim, num_rows, keys, block_size, key_dim / kDepth, PadTo16(count),
                              scores + pos - seen.key0, lds, false);
  });
  SoftmaxTile<W>(scores, lds, num_rows, seen, scale_log2, state);
  const auto* probabilities = reinterpret_cast<const typename W::Element*>(scores);
  const int64_t ldp = lds * static_cast<int64_t>(sizeof(float) / sizeof(typename W::Element));
  ForBlockPieces(source, seen.key0, seen.key0 + seen.num_keys, [&](int64_t pos, int64_t count) {
    prefetch(pos, count, 1);
    const auto* values = BlockPart<OperandWord<CacheT>>(source, pos, source.value_offset);
    OperandProduct<W, CacheT>(probabilities + pos - seen.key0, ldp, num_rows,
                              values + pos % block_size / kDepth * value_dim, value_dim, (count + kDepth - 1) / kDepth,
                              value_dim, state.acc, value_dim, true);
  });
}

// Rows [key0, key0 + num_keys) of a cache of latents as elements, and rows of zeros up to a multiple of 16.
template <class W, typename CacheT>
static void ReadLatents(const KeySource& source, int64_t key0, int64_t num_keys, int64_t width,
                        typename W::Element* rows) {
  ForBlockPieces(source, key0, key0 + num_keys, [&](int64_t pos, int64_t count) {
    const CacheT* latents = BlockPart<CacheT>(source, pos, 0) + pos % source.cache.block_size * width;
    ConvertRow<typename W::Simd>(latents, rows + (pos - key0) * width, count * width);
  });
  const int64_t missing = PadTo16(num_keys) - num_keys;
  std::memset(static_cast<void*>(rows + num_keys * width), 0, missing * width * sizeof(*rows));
}

// --- tasks -----------------------------------------------------------------------------------------------------

// Divides by the sums and writes.
template <class S>
static void FinishRows(const FlashState& state, const ResultRows& rows) {
  for (int64_t r = 0; r < rows.num_rows; ++r) {
    const int64_t row = rows.row_begin + r;
    const int64_t offset = row / rows.group * rows.out.stride + row % rows.group * rows.out.dim;
    WriteElements<S>(state.acc + r * state.value_dim, 1.0f / state.sum[r], rows.out.data, rows.out.dtype, offset,
                     rows.out.dim);
  }
}

// The state whose floats (PartialFloats of them) begin at `floats`.
PENSTOCK_INLINE FlashState StateAt(float* floats, int64_t rows, int64_t value_dim) {
  return {floats, floats + rows, floats + 2 * rows, value_dim};
}

// The state of a task: in `partial` where the caller wants it, otherwise in scratch.
PENSTOCK_INLINE FlashState TakeState(ScratchPieces& scratch, float* partial, int32_t rows, int32_t value_dim) {
  return StateAt(partial ? partial : scratch.Take<float>(PartialFloats(rows, value_dim)), rows, value_dim);
}

template <class W>
struct FlashScratch {
  ScratchPieces pieces;
  typename W::Element* q;
  FlashState state;
  float* scores;
  KeyTile<W> tile;
  typename W::Element* latents;  // only where keys are latents

  FlashScratch(const FlashTask& task, bool latent, void* base)
      : pieces(base),
        q(pieces.Take<typename W::Element>(int64_t{task.row_end - task.row_begin} * task.key_dim)),
        state(TakeState(pieces, task.partial, task.row_end - task.row_begin, task.value_dim)),
        scores(pieces.Take<float>(int64_t{task.row_tile} * task.key_tile)),
        tile(pieces, task.key_dim, task.value_dim, task.key_tile),
        latents(latent ? pieces.Take<typename W::Element>(int64_t{task.key_tile} * task.key_dim) : nullptr) {}
};

// Packs keys [key0, key0 + num_keys) and takes all rows through them.
template <class W, typename CacheT, bool kLatent>
static void FlashStep(const FlashTask& task, int64_t key0, int64_t num_keys, int64_t next_keys,
                      FlashScratch<W>& scratch) {
  if constexpr (kLatent) {
    ReadLatents<W, CacheT>(task.keys, key0, num_keys, task.key_dim, scratch.latents);
    scratch.tile.SetKeys(num_keys);
    PackTransposed<W>(scratch.latents, task.key_dim, task.key_dim, PadTo16(num_keys), scratch.tile.keys, 0);
    PackRows<W>(scratch.latents, task.key_dim, num_keys, task.value_dim, scratch.tile.values);
  } else {
    LoadPagedTile<W, CacheT>(task.keys, key0, num_keys, scratch.tile);
  }
  const int64_t num_rows = task.row_end - task.row_begin;
  const int64_t num_tiles = (num_rows + task.row_tile - 1) / task.row_tile;
  for (int64_t i = 0; i < num_tiles; ++i) {
    if constexpr (!kLatent) {
      PrefetchPagedTile<CacheT>(task.keys, key0 + num_keys, next_keys, task.key_dim, task.value_dim, i, i + 1,
                                num_tiles);
    }
    const int64_t r = i * task.row_tile;
    const int64_t rows = num_rows - r < task.row_tile ? num_rows - r : task.row_tile;
    const Causality seen{task.row_begin + r, task.q.group, task.q.pos, key0, num_keys};
    FlashTile<W>(scratch.q + r * task.key_dim, task.key_dim, rows, scratch.tile.keys, scratch.tile.values, seen,
                 task.scale * kLog2E, scratch.scores, task.key_tile, scratch.state.From(r));
  }
}

template <class W, typename CacheT, bool kLatent>
static void RunFlash(const FlashTask& task, void* memory) {
  FlashScratch<W> scratch(task, kLatent, memory);
  const int64_t rows = task.row_end - task.row_begin;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = task.row_begin + r;
    const int64_t offset = row / task.q.group * task.q.stride + row % task.q.group * task.key_dim;
    ReadElements<W>(task.q.data, task.q.dtype, offset, task.key_dim, task.key_dim, scratch.q + r * task.key_dim);
  }
  scratch.state.Clear(rows);

  const int64_t seen_by_last = task.q.pos + (task.row_end - 1) / task.q.group + 1;
  const int64_t key_end = seen_by_last < task.key_end ? seen_by_last : task.key_end;
  auto keys_at = [&](int64_t key0) { return key_end - key0 < task.key_tile ? key_end - key0 : task.key_tile; };
  for (int64_t key0 = task.key_begin; key0 < key_end; key0 += task.key_tile) {
    const int64_t num_keys = keys_at(key0);
    if (!kLatent && rows <= kThinRows) {
      const Causality seen{task.row_begin, task.q.group, task.q.pos, key0, num_keys};
      FlashPagedRows<W, CacheT>(scratch.q, task.key_dim, rows, task.keys, seen, keys_at(key0 + num_keys),
                                task.scale * kLog2E, scratch.scores, task.key_tile, scratch.state);
    } else {
      FlashStep<W, CacheT, kLatent>(task, key0, num_keys, keys_at(key0 + num_keys), scratch);
    }
  }
  if (task.partial) return;
  FinishRows<typename W::Simd>(scratch.state, ResultOf(task));
}

template <class W, bool kLatent>
static size_t FlashScratchBytes(const FlashTask& task) {
  return FlashScratch<W>(task, kLatent, nullptr).pieces.used();
}

template <class W>
struct MlaHeadScratch {
  ScratchPieces pieces;
  int64_t nope, rope, rank, v;  // padded
  typename W::Element* q;       // [num_queries][nope + rope]
  FlashState state;
  float* scores;
  KeyTile<W> tile;
  Panels<W> weights;             // [rank][nope + v]
  typename W::Element* latents;  // [key_tile][rank + rope]
  float* expanded;               // [key_tile][nope + v]

  MlaHeadScratch(const MlaHeadTask& task, void* base)
      : pieces(base),
        nope(PadDim(task.shape.nope_dim)),
        rope(PadDim(task.shape.rope_dim)),
        rank(PadDim(task.shape.kv_lora_rank)),
        v(task.value_dim),
        q(pieces.Take<typename W::Element>(task.num_queries * (nope + rope))),
        state(TakeState(pieces, task.partial, task.num_queries, task.value_dim)),
        scores(pieces.Take<float>(int64_t{task.row_tile} * task.key_tile)),
        tile(pieces, nope + rope, v, task.key_tile),
        weights{pieces.Take<typename W::Word>(rank / W::kPerWord * (nope + v)), rank / W::kPerWord, nope + v},
        latents(pieces.Take<typename W::Element>(task.key_tile * (rank + rope))),
        expanded(pieces.Take<float>(task.key_tile * (nope + v))) {}
};

// Keys and values of one head for latents [key0, key0 + num_keys).
template <class W, typename CacheT>
static void ExpandTile(const MlaHeadTask& task, int64_t key0, int64_t num_keys, MlaHeadScratch<W>& scratch) {
  using Element = typename W::Element;
  const int64_t width = scratch.rank + scratch.rope, columns = scratch.nope + scratch.v;
  const int64_t padded = PadTo16(num_keys);
  ReadLatents<W, CacheT>(task.keys, key0, num_keys, width, scratch.latents);
  PanelProduct<W>(scratch.latents, width, padded, scratch.weights, scratch.expanded, columns);

  auto* rows = reinterpret_cast<Element*>(scratch.expanded);  // rounded in place
  const int64_t stride = columns * static_cast<int64_t>(sizeof(float) / sizeof(Element));
  if constexpr (W::kPerWord == 2) {
    for (int64_t r = 0; r < padded; ++r) {
      ConvertRow<typename W::Simd>(scratch.expanded + r * columns, rows + r * stride, columns);
    }
  }
  scratch.tile.SetKeys(num_keys);
  PackTransposed<W>(rows, stride, scratch.nope, padded, scratch.tile.keys, 0);
  PackTransposed<W>(scratch.latents + scratch.rank, width, scratch.rope, padded, scratch.tile.keys,
                    scratch.nope / W::kPerWord);
  PackRows<W>(rows + scratch.nope, stride, padded, scratch.v, scratch.tile.values);
}

template <class W, typename CacheT>
static void RunMlaHead(const MlaHeadTask& task, void* memory) {
  MlaHeadScratch<W> scratch(task, memory);
  const int64_t q_dim = scratch.nope + scratch.rope;
  for (int64_t i = 0; i < task.num_queries; ++i) {
    typename W::Element* row = scratch.q + i * q_dim;
    ReadElements<W>(task.q.data, task.q.dtype, i * task.q.stride, task.shape.nope_dim, scratch.nope, row);
    ReadElements<W>(task.q.data, task.q.dtype, i * task.q.stride + task.shape.nope_dim, task.shape.rope_dim,
                    scratch.rope, row + scratch.nope);
  }
  PackOperand<W, CacheT>(static_cast<const OperandWord<CacheT>*>(task.kv_b_t), scratch.nope + scratch.v,
                         scratch.rank / kOperandDepth<CacheT>, scratch.nope + scratch.v, scratch.weights, 0, 0);
  scratch.state.Clear(task.num_queries);

  for (int64_t key0 = task.key_begin; key0 < task.key_end; key0 += task.key_tile) {
    const int64_t num_keys = task.key_end - key0 < task.key_tile ? task.key_end - key0 : task.key_tile;
    ExpandTile<W, CacheT>(task, key0, num_keys, scratch);
    const int64_t first_query = key0 > task.q.pos ? key0 - task.q.pos : 0;
    for (int64_t i = first_query; i < task.num_queries; i += task.row_tile) {
      const int64_t rows = task.num_queries - i < task.row_tile ? task.num_queries - i : task.row_tile;
      const Causality seen{i, 1, task.q.pos, key0, num_keys};
      FlashTile<W>(scratch.q + i * q_dim, q_dim, rows, scratch.tile.keys, scratch.tile.values, seen,
                   task.shape.scale * kLog2E, scratch.scores, task.key_tile, scratch.state.From(i));
    }
  }
  if (task.partial) return;
  FinishRows<typename W::Simd>(scratch.state, ResultOf(task));
}

template <class W>
static size_t MlaHeadScratchBytes(const MlaHeadTask& task) {
  return MlaHeadScratch<W>(task, nullptr).pieces.used();
}

template <class W>
struct ProductScratch {
  ScratchPieces pieces;
  typename W::Element* x;  // [num_rows][k]
  float* y;                // [num_rows][n]
  Panels<W> b;

  ProductScratch(const ProductTask& task, void* base)
      : pieces(base),
        x(pieces.Take<typename W::Element>(int64_t{task.num_rows} * task.k)),
        y(pieces.Take<float>(int64_t{task.num_rows} * task.n)),
        b{pieces.Take<typename W::Word>(int64_t{task.k} / W::kPerWord * task.n), task.k / W::kPerWord, task.n} {}
};

template <class W, typename CacheT>
static void RunProduct(const ProductTask& task, void* memory) {
  ProductScratch<W> scratch(task, memory);
  for (int64_t r = 0; r < task.num_rows; ++r) {
    const int64_t row = task.x_rows ? task.x_rows[r] : r;
    ReadElements<W>(task.x, task.x_dtype, row * task.x_stride, task.x_cols, task.k, scratch.x + r * task.k);
  }
  const auto* b = static_cast<const OperandWord<CacheT>*>(task.b);
  const int64_t steps = task.k / kOperandDepth<CacheT>;
  if (task.num_rows <= kThinRows) {
    OperandProduct<W, CacheT>(scratch.x, task.k, task.num_rows, b, task.b_stride, steps, task.n, scratch.y, task.n,
                              false);
  } else {
    PackOperand<W, CacheT>(b, task.b_stride, steps, task.n, scratch.b, 0, 0);
    PanelProduct<W>(scratch.x, task.k, task.num_rows, scratch.b, scratch.y, task.n);
  }
  for (int64_t r = 0; r < task.num_rows; ++r) {
    const int64_t row = task.y_rows ? task.y_rows[r] : r;
    WriteElements<typename W::Simd>(scratch.y + r * task.n, 1.0f, task.y, task.y_dtype, row * task.y_stride,
                                    task.y_cols);
  }
}

template <class W>
static size_t ProductScratchBytes(const ProductTask& task) {
  return ProductScratch<W>(task, nullptr).pieces.used();
}

template <class S>
static void MergePartials(float* partials, int32_t num_partials, const ResultRows& result) {
  const int64_t rows = result.num_rows, value_dim = result.value_dim;
  const int64_t stride = PartialFloats(result.num_rows, result.value_dim);
  const FlashState merged = StateAt(partials, rows, value_dim);
  for (int64_t r = 0; r < rows; ++r) {
    float max = merged.max[r];
    for (int32_t i = 1; i < num_partials; ++i) max = partials[i * stride + r] > max ? partials[i * stride + r] : max;
    float* acc = merged.acc + r * value_dim;
    float sum = 0.0f;
    for (int32_t i = 0; i < num_partials; ++i) {
      const FlashState state = StateAt(partials + i * stride, rows, value_dim);
      const typename S::Vec weight = S::Exp2(S::Set(state.max[r] - max));
      sum += state.sum[r] * S::ReduceMax(weight);
      for (int64_t d = 0; d < value_dim; d += S::kLanes) {
        const typename S::Vec before = i == 0 ? S::Zero() : S::Load(acc + d);
        S::Store(acc + d, S::MulAdd(S::Load(state.acc + r * value_dim + d), weight, before));
      }
    }
    merged.sum[r] = sum;
  }
  FinishRows<S>(merged, result);
}

template <class W, typename CacheT>
constexpr AttentionTypeOps MakeAttentionTypeOps() {
  return {.flash_scratch_bytes = FlashScratchBytes<W, true>,
          .flash = RunFlash<W, CacheT, false>,
          .flash_latent = RunFlash<W, CacheT, true>,
          .mla_head_scratch_bytes = MlaHeadScratchBytes<W>,
          .mla_head = RunMlaHead<W, CacheT>,
          .product_scratch_bytes = ProductScratchBytes<W>,
          .product = RunProduct<W, CacheT>,
          .merge = MergePartials<typename W::Simd>};
}

// Bf16Words: how operands that are bf16 in the cache are packed.
template <class S, class Bf16Words = FloatWords<S>>
constexpr AttentionOps MakeAttentionOps(const char* name) {
  return {.name = name,
          .f32 = MakeAttentionTypeOps<FloatWords<S>, float>(),
          .bf16 = MakeAttentionTypeOps<Bf16Words, Bf16>()};
}

}  // namespace
}  // namespace penstock
