// CpuAttention: attention over the paged cache of one rank, for any instruction set. It cuts the work into
// tasks for the rank's threads, owns their scratch memory, and leaves the arithmetic to AttentionOps.
//
// The contracts of the methods are those of the same names in kernels.h. Activations and cache may each be
// f32 or bf16. Memory is taken once and kept; it grows with the largest step seen, never with the context.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/thread_scratch.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace penstock {

class CpuAttention {
 public:
  // `ops` and `team` outlive this.
  CpuAttention(const AttentionOps& ops, ThreadTeam& team);

  size_t GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const;
  size_t MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const;

  void GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                const KvLayerView& cache);
  void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                    const KvLayerView& cache, Mat out);

  // `compute` must be the type of the cache that the weights are used with.
  std::unique_ptr<PackedKvB> PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) const;
  std::unique_ptr<PackedKvB> AttachKvB(const PackedImage& image, const MlaShape& shape) const;
  void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans, const MlaShape& shape,
                const KvLayerView& cache);
  void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                    const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form);

  size_t scratch_bytes() const;

 private:
  // Adds the attention of `num_rows` rows, of which `task` is the task for all of them.
  void PlanFlash(const FlashTask& task);
  void PlanExpanded(ConstMat q, const SeqSpan& span, const MlaShape& shape, const KvLayerView& cache,
                    const PackedKvB& kv_b, Mat out);
  // Spans of together at most kAbsorbedTokens tokens.
  void AbsorbedAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                         const KvLayerView& cache, const PackedKvB& kv_b, Mat out);
  void RunProducts(int64_t count, const AttentionTypeOps& ops, FunctionRef<ProductTask(int64_t)> product);

  const AttentionOps& ops_;
  ThreadTeam& team_;
  ThreadScratch thread_scratch_;
  AttentionPlan<FlashTask> flash_plan_;
  AttentionPlan<MlaHeadTask> head_plan_;
  std::vector<SeqSpan> absorbed_spans_;
  std::vector<int32_t> absorbed_rows_;  // batch rows of the spans' tokens
  Buffer latent_q_;                     // absorbed queries: f32 [tokens][num_heads][LatentWidth]
  Buffer latent_out_;                   // f32 [tokens][num_heads][padded rank]
};

}  // namespace penstock
