// One timed method for each operation of Kernels: profiling_kernels_test.cc looks for them.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/profile/profiling_kernels.h"

#include <utility>

#include "kernels/forwarding_kernels.h"
#include "kernels/profile/op_work.h"

namespace penstock {
namespace {

class ProfilingKernels : public ForwardingKernels {
 public:
  ProfilingKernels(std::unique_ptr<Kernels> inner, OpProfile& profile)
      : ForwardingKernels(*inner), owned_(std::move(inner)), profile_(profile) {}

  void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) override {
    Time({"Linear", ArithmeticOf(w), {w.k(), w.n()}}, LinearWork(x, w, y, accumulate),
         [&] { inner_->Linear(x, w, y, bias, accumulate); });
  }
  void Quantize(ConstMat x, const PackedMat& w, Mat q, float* scales) override {
    Time(Moves("Quantize"), {0, MatBytes(x) + MatBytes(q)}, [&] { inner_->Quantize(x, w, q, scales); });
  }
  void LinearQuantized(ConstMat q, const float* scales, const PackedMat& w, Mat y,
                       const float* bias) override {
    Time({"Linear", ArithmeticOf(w), {w.k(), w.n()}}, LinearWork(q, w, y, /*accumulate=*/false),
         [&] { inner_->LinearQuantized(q, scales, w, y, bias); });
  }
  void Embed(std::span<const int32_t> ids, ConstMat table, Mat y) override {
    Time(Moves("Embed"), {0, 2 * MatBytes(y)}, [&] { inner_->Embed(ids, table, y); });
  }
  void RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias) override {
    Time(Moves("RmsNorm"), {0, 2 * MatBytes(x)}, [&] { inner_->RmsNorm(x, weight, eps, y, bias); });
  }
  void HeadRmsNorm(Mat x, int32_t num_heads, int32_t head_dim, const float* weight, float eps,
                   const float* bias) override {
    const double bytes = 2 * MatBytes(x.Cols(0, int64_t{num_heads} * head_dim));
    Time(Moves("HeadRmsNorm"), {0, bytes},
         [&] { inner_->HeadRmsNorm(x, num_heads, head_dim, weight, eps, bias); });
  }
  void AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                  const float* bias) override {
    Time(Moves("AddRmsNorm"), {0, 4 * MatBytes(x)},
         [&] { inner_->AddRmsNorm(residual, x, weight, eps, y, bias); });
  }
  void Add(ConstMat x, Mat y) override {
    Time(Moves("Add"), {0, 3 * MatBytes(x)}, [&] { inner_->Add(x, y); });
  }
  void Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
            const RopeTable& table, RopeStyle style) override {
    const double bytes = 2 * MatBytes(x.Cols(0, int64_t{num_heads} * table.dim));
    Time(Moves("Rope"), {0, bytes},
         [&] { inner_->Rope(x, num_heads, head_stride, positions, table, style); });
  }
  void SiluMul(ConstMat gate_up, Mat y) override {
    Time(Moves("SiluMul"), {0, 3 * MatBytes(y)}, [&] { inner_->SiluMul(gate_up, y); });
  }

  void GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                const KvLayerView& cache) override {
    Time(Moves("GqaStore"), {0, 2 * (MatBytes(k) + MatBytes(v))},
         [&] { inner_->GqaStore(k, v, spans, shape, cache); });
  }
  void GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how, std::span<const SeqSpan> spans,
                        const GqaShape& shape, const KvLayerView& cache) override {
    Time(Moves("GqaNormRopeStore"), {0, 2 * (MatBytes(q) + MatBytes(v)) + 3 * MatBytes(k)},
         [&] { inner_->GqaNormRopeStore(q, k, v, how, spans, shape, cache); });
  }
  void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                    const KvLayerView& cache, Mat out) override {
    Time({"GqaAttention", ArithmeticOf(cache.dtype), {shape.num_heads, shape.head_dim}},
         GqaWork(spans, shape, cache), [&] { inner_->GqaAttention(q, spans, shape, cache, out); });
  }
  void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans, const MlaShape& shape,
                const KvLayerView& cache) override {
    Time(Moves("MlaStore"), {0, 2 * (MatBytes(latent) + MatBytes(k_rope))},
         [&] { inner_->MlaStore(latent, k_rope, spans, shape, cache); });
  }
  void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                    const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) override {
    const bool bytes = cache.dtype == DType::kI8;  // latents are decoded
    Time({"MlaAttention",
          bytes ? Arithmetic::kBF16 : ArithmeticOf(cache.dtype),
          {shape.num_heads, shape.kv_lora_rank}},
         MlaWork(spans, shape, cache),
         [&] { inner_->MlaAttention(q, spans, shape, cache, kv_b, out, form); });
  }

  void RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) override {
    Time(Moves("RouteTopK"), {0, MatBytes(logits)}, [&] { inner_->RouteTopK(logits, shape, ids, weights); });
  }
  void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
              const ExpertWeights& experts, Mat y) override {
    Time(MoeKey(x.cols, experts), MoeWork(x, ids, top_k, experts),
         [&] { inner_->MoeMlp(x, ids, weights, top_k, experts, y); });
  }
  void MoeMlpQuantized(ConstMat q, const float* scales, const int32_t* ids, const float* weights,
                       int32_t top_k, const ExpertWeights& experts, Mat y) override {
    Time(MoeKey(y.cols, experts), MoeWork(q, ids, top_k, experts),
         [&] { inner_->MoeMlpQuantized(q, scales, ids, weights, top_k, experts, y); });
  }

 private:
  static OpKey MoeKey(int64_t hidden, const ExpertWeights& experts) {
    const int64_t held = experts.FirstHeld();
    if (held < 0) return {"MoeMlp", Arithmetic::kNone, {hidden, 0}};
    return {"MoeMlp", ArithmeticOf(*experts.gate_up[held]), {hidden, experts.down[held]->k()}};
  }
  static OpKey Moves(std::string_view op) { return {op, Arithmetic::kNone, {0, 0}}; }

  template <typename Call>
  void Time(const OpKey& key, const OpWork& work, const Call& call) {
    const int64_t begin_ns = OpProfile::NowNs();
    call();
    profile_.Record(key, begin_ns, OpProfile::NowNs(), work);
  }

  const std::unique_ptr<Kernels> owned_;
  OpProfile& profile_;
};

}  // namespace

std::unique_ptr<Kernels> MakeProfilingKernels(std::unique_ptr<Kernels> kernels, OpProfile& profile) {
  return std::make_unique<ProfilingKernels>(std::move(kernels), profile);
}

}  // namespace penstock
