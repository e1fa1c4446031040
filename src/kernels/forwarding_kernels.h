// ForwardingKernels: other kernels, call by call: the base of kernels that look at some calls and change
// none.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kernels.h"

namespace penstock {

class ForwardingKernels : public Kernels {
 public:
  // `inner` outlives the object.
  explicit ForwardingKernels(Kernels& inner) : inner_(&inner) {}

  std::string_view name() const override { return inner_->name(); }
  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> body) override {
    inner_->ParallelFor(count, body);
  }
  std::string PackedLayout() const override { return inner_->PackedLayout(); }
  std::unique_ptr<PackedMat> AttachMat(const PackedImage& image) override { return inner_->AttachMat(image); }
  std::unique_ptr<PackedKvB> AttachKvB(const PackedImage& image, const MlaShape& shape) override {
    return inner_->AttachKvB(image, shape);
  }
  std::unique_ptr<PackedMat> Pack(std::span<const ConstMat> parts, DType compute) override {
    return inner_->Pack(parts, compute);
  }
  std::unique_ptr<PackedMat> PackInt8(std::span<const Int8Part> parts) override {
    return inner_->PackInt8(parts);
  }
  std::unique_ptr<PackedKvB> PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) override {
    return inner_->PackKvB(kv_b, shape, compute);
  }
  void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) override {
    inner_->Linear(x, w, y, bias, accumulate);
  }
  int64_t QuantizedCols(const PackedMat& w) const override { return inner_->QuantizedCols(w); }
  void Quantize(ConstMat x, const PackedMat& w, Mat q, float* scales) override {
    inner_->Quantize(x, w, q, scales);
  }
  void LinearQuantized(ConstMat q, const float* scales, const PackedMat& w, Mat y,
                       const float* bias) override {
    inner_->LinearQuantized(q, scales, w, y, bias);
  }
  void Embed(std::span<const int32_t> ids, ConstMat table, Mat y) override { inner_->Embed(ids, table, y); }
  void RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias) override {
    inner_->RmsNorm(x, weight, eps, y, bias);
  }
  void HeadRmsNorm(Mat x, int32_t num_heads, int32_t head_dim, const float* weight, float eps,
                   const float* bias) override {
    inner_->HeadRmsNorm(x, num_heads, head_dim, weight, eps, bias);
  }
  void AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                  const float* bias) override {
    inner_->AddRmsNorm(residual, x, weight, eps, y, bias);
  }
  void Add(ConstMat x, Mat y) override { inner_->Add(x, y); }
  void Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
            const RopeTable& table, RopeStyle style) override {
    inner_->Rope(x, num_heads, head_stride, positions, table, style);
  }
  void SiluMul(ConstMat gate_up, Mat y) override { inner_->SiluMul(gate_up, y); }
  size_t GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const override {
    return inner_->GqaBlockBytes(shape, block_size, dtype);
  }
  size_t MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const override {
    return inner_->MlaBlockBytes(shape, block_size, dtype);
  }
  void GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                const KvLayerView& cache) override {
    inner_->GqaStore(k, v, spans, shape, cache);
  }
  void GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how, std::span<const SeqSpan> spans,
                        const GqaShape& shape, const KvLayerView& cache) override {
    inner_->GqaNormRopeStore(q, k, v, how, spans, shape, cache);
  }
  void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                    const KvLayerView& cache, Mat out) override {
    inner_->GqaAttention(q, spans, shape, cache, out);
  }
  void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans, const MlaShape& shape,
                const KvLayerView& cache) override {
    inner_->MlaStore(latent, k_rope, spans, shape, cache);
  }
  void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                    const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) override {
    inner_->MlaAttention(q, spans, shape, cache, kv_b, out, form);
  }
  void RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) override {
    inner_->RouteTopK(logits, shape, ids, weights);
  }
  void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
              const ExpertWeights& experts, Mat y) override {
    inner_->MoeMlp(x, ids, weights, top_k, experts, y);
  }
  void MoeMlpQuantized(ConstMat q, const float* scales, const int32_t* ids, const float* weights,
                       int32_t top_k, const ExpertWeights& experts, Mat y) override {
    inner_->MoeMlpQuantized(q, scales, ids, weights, top_k, experts, y);
  }
  size_t scratch_bytes() const override { return inner_->scratch_bytes(); }

 protected:
  Kernels* const inner_;
};

}  // namespace penstock
