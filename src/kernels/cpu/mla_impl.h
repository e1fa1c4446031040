// The task of latent attention in the expanded form (mla.cc says what that is). For per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/attention_decode_int8.h"
#include "kernels/cpu/attention_flash.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/vec_product.h"

namespace penstock {
namespace {

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
  ReadLatentRows<W, CacheT>(task.keys, key0, num_keys, width, scratch.latents);
  PanelProduct<W>(scratch.latents, width, padded, scratch.weights, scratch.expanded, columns);

  auto* rows = reinterpret_cast<Element*>(scratch.expanded);  // rounded in place
  const int64_t stride = columns * static_cast<int64_t>(sizeof(float) / sizeof(Element));
  if constexpr (W::kPerWord == 2) {
    for (int64_t r = 0; r < padded; ++r) {
      ConvertRow<typename W::Simd>(scratch.expanded + r * columns, rows + r * stride, columns);
    }
  }
  KeyTile<W>& tile = scratch.tile;
  tile.UsePacked(num_keys);
  PackTransposed<W>(rows, stride, scratch.nope, padded, tile.packed_keys, 0);
  PackTransposed<W>(scratch.latents + scratch.rank, width, scratch.rope, padded, tile.packed_keys,
                    scratch.nope / W::kPerWord);
  PackRows<W>(rows + scratch.nope, stride, padded, scratch.v, tile.packed_values);
}

template <class W, typename WeightT, typename CacheT>
static void RunMlaHead(const MlaHeadTask& task, void* memory) {
  MlaHeadScratch<W> scratch(task, memory);
  const int64_t q_dim = scratch.nope + scratch.rope;
  for (int64_t i = 0; i < task.num_queries; ++i) {
    typename W::Element* row = scratch.q + i * q_dim;
    ReadElements<W>(task.q.data, task.q.dtype, i * task.q.stride, task.shape.nope_dim, scratch.nope, row);
    ReadElements<W>(task.q.data, task.q.dtype, i * task.q.stride + task.shape.nope_dim, task.shape.rope_dim,
                    scratch.rope, row + scratch.nope);
  }
  PackOperand<W, WeightT>(static_cast<const OperandWord<WeightT>*>(task.kv_b_t), scratch.nope + scratch.v,
                          scratch.rank / kOperandDepth<WeightT>, scratch.nope + scratch.v, scratch.weights, 0,
                          0);
  scratch.state.Clear(task.num_queries);

  for (int64_t key0 = task.key_begin; key0 < task.key_end; key0 += task.key_tile) {
    const int64_t num_keys = task.key_end - key0 < task.key_tile ? task.key_end - key0 : task.key_tile;
    ExpandTile<W, CacheT>(task, key0, num_keys, scratch);
    const int64_t first_query = key0 > task.q.pos ? key0 - task.q.pos : 0;
    BlockPrefetcher none(task.keys, 0, 0, 0, 0, 0);
    for (int64_t i = first_query; i < task.num_queries; i += task.row_tile) {
      const int64_t rows = task.num_queries - i < task.row_tile ? task.num_queries - i : task.row_tile;
      const Causality seen{i, 1, task.q.pos, key0, num_keys};
      FlashTile<W>(scratch.q + i * q_dim, q_dim, rows, scratch.tile, seen, task.shape.scale * kLog2E,
                   scratch.scores, task.key_tile, scratch.state.From(i), none);
    }
  }
  if (task.partial) return;
  FinishRows<typename W::Simd>(scratch.state, ResultOf(task));
}

template <class W>
static size_t MlaHeadScratchBytes(const MlaHeadTask& task) {
  return MlaHeadScratch<W>(task, nullptr).pieces.used();
}

}  // namespace
}  // namespace penstock
