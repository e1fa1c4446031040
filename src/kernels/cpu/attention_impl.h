// The tasks of attention_ops.h over any Simd type, and MakeAttentionOps, the table of them.
//
// Templates are over W, the form of packed operands (vec_product.h), and CacheT, the type of the cache. For
// per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/attention_decode_int8.h"
#include "kernels/cpu/attention_flash.h"
#include "kernels/cpu/attention_int8.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/mla_impl.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

// Keys [key0, key0 + num_keys) of a paged cache that must be decoded, for few rows: what FlashTile does,
// without packing.
template <class W, typename CacheT>
static void FlashPagedRows(const typename W::Element* q, int64_t key_dim, int64_t num_rows,
                           const KeySource& source, const Causality& seen, float scale_log2, float* scores,
                           int64_t lds, const FlashState& state, BlockPrefetcher& ahead) {
  constexpr int64_t kDepth = kOperandDepth<CacheT>;
  const int64_t block_size = source.cache.block_size, value_dim = state.value_dim;
  ForBlockPieces(source, seen.key0, seen.key0 + seen.num_keys, [&](int64_t pos, int64_t count) {
    ahead.Step();
    const auto* keys = BlockPart<OperandWord<CacheT>>(source, pos, source.key_offset) + pos % block_size;
    OperandProduct<W, CacheT>(q, key_dim, num_rows, keys, block_size, key_dim / kDepth, PadTo16(count),
                              scores + pos - seen.key0, lds, false);
  });
  SoftmaxTile<W>(scores, lds, num_rows, seen, scale_log2, state);
  const auto* probabilities = reinterpret_cast<const typename W::Element*>(scores);
  const int64_t ldp = lds * static_cast<int64_t>(sizeof(float) / sizeof(typename W::Element));
  ForBlockPieces(source, seen.key0, seen.key0 + seen.num_keys, [&](int64_t pos, int64_t count) {
    ahead.Step();
    const auto* values = BlockPart<OperandWord<CacheT>>(source, pos, source.value_offset);
    for (int64_t d = 0; d < value_dim; d += kValuePanel) {
      const int64_t width = ValuePanelWidth(d, value_dim);
      OperandProduct<W, CacheT>(probabilities + pos - seen.key0, ldp, num_rows,
                                values + d * (block_size / kDepth) + pos % block_size / kDepth * width, width,
                                (count + kDepth - 1) / kDepth, width, state.acc + d, value_dim, true);
    }
  });
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

// Makes the tile of keys [key0, key0 + num_keys).
template <class W, typename CacheT, bool kLatent>
static void MakeTile(const FlashTask& task, int64_t key0, int64_t num_keys, FlashScratch<W>& scratch) {
  KeyTile<W>& tile = scratch.tile;
  if constexpr (kLatent) {
    ReadLatentRows<W, CacheT>(task.keys, key0, num_keys, task.key_dim, scratch.latents);
    tile.UsePacked(num_keys);
    PackTransposed<W>(scratch.latents, task.key_dim, task.key_dim, PadTo16(num_keys), tile.packed_keys, 0);
    PackRows<W>(scratch.latents, task.key_dim, num_keys, task.value_dim, tile.packed_values);
  } else if constexpr (std::is_same_v<CacheT, int8_t>) {
    PackDecodedTile(task.keys, key0, num_keys, tile);
  } else {
    const bool thin = task.row_end - task.row_begin <= kThinRows;
    if (ReadsInPlace<W, CacheT>(task.keys.cache.block_size, task.key_tile, thin))
      LocatePagedTile<W>(task.keys, key0, num_keys, tile);
    else
      PackPagedTile<W, CacheT>(task.keys, key0, num_keys, tile);
  }
}

// Takes all rows through keys [key0, key0 + num_keys), while those up to `next_end` are asked for.
template <class W, typename CacheT, bool kLatent>
static void FlashStep(const FlashTask& task, int64_t key0, int64_t num_keys, int64_t next_end,
                      FlashScratch<W>& scratch) {
  constexpr bool kDecodesRows = !kLatent && std::is_same_v<CacheT, Bf16> && W::kPerWord == 1;
  const int64_t num_rows = task.row_end - task.row_begin, next = key0 + num_keys;
  const int64_t bytes = (task.key_dim + task.value_dim) * task.keys.cache.block_size * sizeof(CacheT);
  const float scale = task.scale * kLog2E;
  if constexpr (kDecodesRows) {
    if (num_rows <= kThinRows) {
      BlockPrefetcher ahead(task.keys, next, next_end, task.key_tile, bytes, 2);
      const Causality seen{task.row_begin, task.q.group, task.q.pos, key0, num_keys};
      FlashPagedRows<W, CacheT>(scratch.q, task.key_dim, num_rows, task.keys, seen, scale, scratch.scores,
                                task.key_tile, scratch.state, ahead);
      return;
    }
  }
  MakeTile<W, CacheT, kLatent>(task, key0, num_keys, scratch);
  BlockPrefetcher ahead(task.keys, next, kLatent ? next : next_end, task.key_tile, bytes,
                        NumRegisterTiles<W>(num_rows, num_keys, task.value_dim));
  for (int64_t r = 0; r < num_rows; r += task.row_tile) {
    const int64_t rows = num_rows - r < task.row_tile ? num_rows - r : task.row_tile;
    const Causality seen{task.row_begin + r, task.q.group, task.q.pos, key0, num_keys};
    FlashTile<W>(scratch.q + r * task.key_dim, task.key_dim, rows, scratch.tile, seen, scale, scratch.scores,
                 task.key_tile, scratch.state.From(r), ahead);
  }
}

template <class W, typename CacheT, bool kLatent>
static void RunFlash(const FlashTask& task, void* memory) {
  FlashScratch<W> scratch(task, kLatent, memory);
  const int64_t rows = task.row_end - task.row_begin;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = task.row_begin + r;
    const int64_t offset = row / task.q.group * task.q.stride + row % task.q.group * task.key_dim;
    typename W::Element* q = scratch.q + r * task.key_dim;
    if constexpr (std::is_same_v<CacheT, int8_t> && !kLatent)
      ReadQuantized(task.q.data, task.q.dtype, offset, task.key_dim, q);
    else
      ReadElements<W>(task.q.data, task.q.dtype, offset, task.key_dim, task.key_dim, q);
  }
  scratch.state.Clear(rows);

  const int64_t key_end = task.KeyEnd();
  auto tile_end = [&](int64_t key0) {
    return key_end - key0 < task.key_tile ? key_end : key0 + task.key_tile;
  };
  for (int64_t key0 = task.key_begin; key0 < key_end; key0 += task.key_tile) {
    const int64_t end = tile_end(key0);
    FlashStep<W, CacheT, kLatent>(task, key0, end - key0, tile_end(end), scratch);
  }
  if (task.partial) return;
  FinishRows<typename W::Simd>(scratch.state, ResultOf(task));
}

template <class W, bool kLatent>
static size_t FlashScratchBytes(const FlashTask& task) {
  return FlashScratch<W>(task, kLatent, nullptr).pieces.used();
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
        b{pieces.Take<typename W::Word>(int64_t{task.k} / W::kPerWord * task.n), task.k / W::kPerWord,
          task.n} {}
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
    OperandProduct<W, CacheT>(scratch.x, task.k, task.num_rows, b, task.b_stride, steps, task.n, scratch.y,
                              task.n, false);
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
    for (int32_t i = 1; i < num_partials; ++i) {
      const float other = merged.max[i * stride + r];
      max = other > max ? other : max;
    }
    float* acc = merged.acc + r * value_dim;
    typename S::Vec sum = S::Zero();
    for (int32_t i = 0; i < num_partials; ++i) {
      const FlashState state = StateAt(partials + i * stride, rows, value_dim);
      const typename S::Vec weight = S::Exp2(S::Set(state.max[r] - max));
      sum = S::MulAdd(state.Sum<S>(r), weight, sum);
      for (int64_t d = 0; d < value_dim; d += S::kLanes) {
        const typename S::Vec before = i == 0 ? S::Zero() : S::Load(acc + d);
        S::Store(acc + d, S::MulAdd(S::Load(state.acc + r * value_dim + d), weight, before));
      }
    }
    S::Store(merged.sum + r * kSumLanes, sum);
  }
  FinishRows<S>(merged, result);
}

// WeightT: type of weights; CacheT: of a latent cache.
template <class W, typename WeightT, typename CacheT>
constexpr AttentionTypeOps MakeLatentOps() {
  AttentionTypeOps ops;
  ops.flash_latent_scratch_bytes = FlashScratchBytes<W, true>;
  ops.flash_latent = RunFlash<W, CacheT, true>;
  ops.mla_head_scratch_bytes = MlaHeadScratchBytes<W>;
  ops.mla_head = RunMlaHead<W, WeightT, CacheT>;
  ops.product_scratch_bytes = ProductScratchBytes<W>;
  ops.product = RunProduct<W, WeightT>;
  ops.merge = MergePartials<typename W::Simd>;
  return ops;
}

template <class W, typename CacheT>
constexpr AttentionTypeOps MakeAttentionTypeOps() {
  AttentionTypeOps ops = MakeLatentOps<W, CacheT, CacheT>();
  ops.flash_scratch_bytes = FlashScratchBytes<W, false>;
  ops.flash = RunFlash<W, CacheT, false>;
  return ops;
}

template <class Bf16Words, bool kMultipliesBytes>
constexpr AttentionTypeOps MakeByteOps() {
  using S = typename Bf16Words::Simd;
  AttentionTypeOps ops = MakeLatentOps<Bf16Words, Bf16, int8_t>();
  if constexpr (kMultipliesBytes) {
    ops.flash_scratch_bytes = ByteFlashScratchBytes<S>;
    ops.flash = RunByteFlash<S>;
  } else {
    ops.flash_scratch_bytes = FlashScratchBytes<FloatWords<S>, false>;
    ops.flash = RunFlash<FloatWords<S>, int8_t, false>;
  }
  return ops;
}

// Bf16Words: how operands that are bf16 in the cache are packed. kMultipliesBytes: whether S has a dot
// product of bytes.
template <class S, class Bf16Words = FloatWords<S>, bool kMultipliesBytes = false>
constexpr AttentionOps MakeAttentionOps(const char* name) {
  return {.name = name,
          .f32 = MakeAttentionTypeOps<FloatWords<S>, float>(),
          .bf16 = MakeAttentionTypeOps<Bf16Words, Bf16>(),
          .i8 = MakeByteOps<Bf16Words, kMultipliesBytes>(),
          .quantize_row = QuantizeRow,
          .quantize_value = QuantizeValueRow};
}

}  // namespace
}  // namespace penstock
