// CpuMoeWorker: the experts of a layer on some tokens, by one thread from its own memory: all that is between
// x and y stays in its caches.
//
//   for each expert, for at most max_tile_rows of the tokens that chose it:
//     gate_up (rows gathered) → silu · up → down, which adds to the tokens' sums
//
// The weights are read once by every worker: worth it where many rows meet each expert.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_quantizer.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace penstock {

// All tokens of a call: as Kernels::MoeMlp.
struct MoeBatch {
  ConstMat x;
  const int32_t* ids = nullptr;
  const float* weights = nullptr;
  int32_t top_k = 0;
  const ExpertWeights* experts = nullptr;
  int64_t held = 0;      // one of the experts, as an example of all
  QuantizedRows x_rows;  // x where the experts' int8 takes it as one; no data where each quantises for itself
  Mat y;
};

class CpuMoeWorker {
 public:
  // Both outlive this.
  CpuMoeWorker(const CpuOps& ops, ThreadTeam& team);

  // Memory for at most `num_tokens` of the batch, so that Run allocates nothing. Not while it runs.
  void Reserve(const MoeBatch& batch, int64_t num_tokens);
  // Tokens [begin, end).
  void Run(const MoeBatch& batch, int64_t begin, int64_t end);

  size_t scratch_bytes() const;

 private:
  void SortByExpert(const MoeBatch& batch, int64_t begin, int64_t end);
  // The weights that come after this expert's; null: none do.
  static const void* NextWeights(const ExpertWeights& experts, size_t expert);
  // num_rows slots from `slot` on, of one expert: x -> inner_, quantised too where `down` is int8.
  void GateUp(const MoeBatch& batch, size_t expert, int64_t begin, int64_t slot, int64_t num_rows);
  // inner_ -> sums.
  void Down(const MoeBatch& batch, size_t expert, int64_t slot, int64_t num_rows, Mat sums);
  // All panels of a product, some at a time; `then` are the weights of the next product.
  void RunPanels(GemmTile tile, const void* then);

  const CpuOps& ops_;
  std::vector<int64_t> expert_begin_;  // [num_experts + 1] first slot of each expert
  std::vector<int32_t> slot_token_;    // [slots] from the first of the run
  std::vector<float> slot_weight_;     // [slots]
  CpuQuantizer x_quantizer_;
  CpuQuantizer inner_quantizer_;
  Buffer gate_up_;  // [tile rows, 2 * inter] activation type
  Buffer inner_;    // [tile rows, inter] activation type
  Buffer sums_;     // f32 [tokens, hidden], where y is bf16
  Buffer scratch_;  // of the products
};

}  // namespace penstock
