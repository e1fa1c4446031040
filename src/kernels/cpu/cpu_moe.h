// CpuMoe: the experts of a layer on a batch of tokens.
//
//   (token, choice) pairs, sorted by expert        slots of a piece at most kPieceBytes of scratch
//   ┌────────┬───┬──────┬────────┐
//   │ e0     │e1 │ e2   │ …      │   gate_up per expert (rows gathered) → silu · up → down per expert →
//   └────────┴───┴──────┴────────┘   each token adds its slots' rows to y, in the order of the experts
//
// Where many rows meet each expert, each thread does all of that for tokens of its own (cpu_moe_worker.h).
//
// Where experts are int8, x is quantised once for each token (for each slot where experts have static scales
// of their own), and silu · up as soon as a row of it is there.
//
// The order of all sums is that of k and of the expert numbers: y does not depend on the number of threads,
// on the pieces, or on what other tokens are in the batch.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/cpu_gemm.h"
#include "kernels/cpu/cpu_moe_worker.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_quantizer.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace penstock {

class ThreadTeam;

class CpuMoe {
 public:
  static constexpr size_t kPieceBytes = size_t{64} << 20;

  // Rows of a run of tokens for each expert, on average, as they are best; and the fewest for which workers
  // do it, each reading all weights.
  static constexpr int64_t kWorkerRows = 128;
  static constexpr int64_t kMinWorkerRows = 48;

  // All outlive this. `piece_bytes` bounds the scratch that grows with tokens * top_k.
  CpuMoe(const CpuOps& ops, ThreadTeam& team, CpuGemm& gemm, size_t piece_bytes = kPieceBytes,
         int64_t min_worker_rows = kMinWorkerRows);

  // As Kernels::MoeMlp. Where `quantized` has data, x has none: only its type and its size.
  void Run(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k, const ExpertWeights& experts,
           Mat y, QuantizedRows quantized = {});

  size_t scratch_bytes() const;

 private:
  // Into how many runs of tokens workers take them; 0: they do not.
  int64_t NumRuns(int64_t num_tokens, int64_t expert_rows) const;
  void RunWorkers(const MoeBatch& batch, int64_t num_runs);
  void SortByExpert(int64_t num_tokens, const int32_t* ids, const float* weights, int32_t top_k,
                    const ExpertWeights& experts);
  size_t ExpertOf(int64_t slot) const;
  // Quantises the tokens of the slots, each as its expert wants it.
  void QuantizeSlots(ConstMat x, const ExpertWeights& experts, int64_t slot_begin, int64_t slot_end);
  // gate_up_ -> inner_, quantised too where `experts.down` are int8.
  void Activate(const ExpertWeights& experts, Mat gate_up, Mat inner, int64_t slot_begin);
  void RunPiece(ConstMat x, const ExpertWeights& experts, int64_t slot_begin, int64_t slot_end);
  // One problem for each expert that has slots in [slot_begin, slot_end).
  template <typename MakeProblem>
  void RunExperts(int64_t slot_begin, int64_t slot_end, const MakeProblem& make_problem);
  // sums[t] += weight * outer[slot], for the token's slots in [slot_begin, slot_end). The first piece begins
  // from y, the last one rounds to y.
  void Combine(Mat y, int32_t top_k, int64_t slot_begin, int64_t slot_end);

  const CpuOps& ops_;
  ThreadTeam& team_;
  CpuGemm& gemm_;
  const size_t piece_bytes_;
  const int64_t min_worker_rows_;
  std::vector<CpuMoeWorker> workers_;  // one for each thread
  CpuQuantizer x_quantizer_;           // of all tokens, or of the slots of a piece
  CpuQuantizer inner_quantizer_;
  bool quantize_slots_ = false;  // this call: the latter
  QuantizedRows x_rows_;         // this call: the former
  int64_t held_ = 0;             // this call: the first expert that is there

  std::vector<int64_t> expert_begin_;  // [num_experts + 1] first slot of each expert
  std::vector<int32_t> slot_token_;    // [slots]
  std::vector<int32_t> token_slots_;   // [tokens, top_k] rising; -1: none
  std::vector<float> token_weights_;   // of the same
  std::vector<GemmProblem> problems_;
  Buffer gate_up_;  // [slots of a piece, 2 * inter] activation type
  Buffer inner_;    // [slots of a piece, inter] activation type
  Buffer outer_;    // f32 [slots of a piece, hidden]
  Buffer sums_;     // f32 [tokens, hidden], where y is bf16
};

}  // namespace penstock
