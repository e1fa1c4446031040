// CpuKernels: the kernels of a processor, over the inner loops of one instruction set (CpuOps, AttentionOps).
// Here is what is common to all: checks, threads, memory.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_team.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cpu_gemm.h"
#include "kernels/cpu/cpu_matrix.h"
#include "kernels/cpu/cpu_moe.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_quantizer.h"
#include "kernels/kernels.h"

namespace penstock {

class CpuKernels : public Kernels {
 public:
  // The tables and the team outlive this.
  CpuKernels(std::string name, const CpuOps& ops, const AttentionOps& attention_ops, ThreadTeam& team);

  std::string_view name() const override { return name_; }

  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> body) override {
    team_.ParallelFor(count, 1, body);
  }

  std::unique_ptr<PackedMat> Pack(std::span<const ConstMat> parts, DType compute) override;
  std::unique_ptr<PackedMat> PackInt8(std::span<const Int8Part> parts) override;
  std::unique_ptr<PackedKvB> PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) override;

  std::string PackedLayout() const override;
  std::unique_ptr<PackedMat> AttachMat(const PackedImage& image) override;
  std::unique_ptr<PackedKvB> AttachKvB(const PackedImage& image, const MlaShape& shape) override;

  void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) override;
  int64_t QuantizedCols(const PackedMat& w) const override;
  void Quantize(ConstMat x, const PackedMat& w, Mat q, float* scales) override;
  void LinearQuantized(ConstMat q, const float* scales, const PackedMat& w, Mat y,
                       const float* bias) override;
  void Embed(std::span<const int32_t> ids, ConstMat table, Mat y) override;
  void RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias) override;
  void AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                  const float* bias) override;
  void Add(ConstMat x, Mat y) override;
  void Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
            const RopeTable& table, RopeStyle style) override;
  void SiluMul(ConstMat gate_up, Mat y) override;

  size_t GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const override;
  size_t MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const override;
  void GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                const KvLayerView& cache) override;
  void GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how, std::span<const SeqSpan> spans,
                        const GqaShape& shape, const KvLayerView& cache) override;
  void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                    const KvLayerView& cache, Mat out) override;
  void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans, const MlaShape& shape,
                const KvLayerView& cache) override;
  void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                    const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) override;

  void RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) override;
  void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
              const ExpertWeights& experts, Mat y) override;
  void MoeMlpQuantized(ConstMat q, const float* scales, const int32_t* ids, const float* weights,
                       int32_t top_k, const ExpertWeights& experts, Mat y) override;

  size_t scratch_bytes() const override;

 private:
  // Runs `tile`, filled in but for what depends on the tokens, over the tokens of all spans. Its views are
  // those of row 0 of the step.
  void RunGqaTiles(GqaTile tile, std::span<const SeqSpan> spans, const KvLayerView& cache);

  // body(begin, end) over rows, cut for the team where there is enough to do.
  template <typename Body>
  void ForRows(int64_t num_rows, int64_t num_cols, const Body& body);

  const std::string name_;
  const CpuOps& ops_;
  ThreadTeam& team_;
  CpuGemm gemm_;
  CpuQuantizer quantizer_;  // of the input of Linear()
  CpuMoe moe_;
  CpuAttention attention_;
  struct TokenRun {
    const SeqSpan* span;
    int32_t begin, end;  // tokens of it, in one block
  };
  std::vector<TokenRun> gqa_runs_;
};

}  // namespace penstock
