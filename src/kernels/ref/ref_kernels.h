// RefKernels: the definition of every operation, as the obvious loops. Inputs of any float type are read as
// fp32, sums run in double, and results are rounded to the output type once, at the end. Never optimised.
//
// Caches are plain: a block is [block_size][num_kv_heads][head_dim] keys, then as many values; of latent
// attention, [block_size][kv_lora_rank + rope_dim]. In bytes, every row of head_dim, kv_lora_rank or rope_dim
// numbers has its scale (f32) behind it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace penstock {

// Row `row` of `mat` (f32, f16 or bf16) as fp32.
std::vector<float> ReadRow(const ConstMat& mat, int64_t row);

// Rounds `values` to the type of `mat` (f32, f16 or bf16) and writes them from element (row, col) on.
void WriteRow(const Mat& mat, int64_t row, std::span<const float> values, int64_t col = 0);

// `count` elements of `dtype` from `data` on, as fp32; and back.
std::vector<float> ReadFloats(const void* data, DType dtype, int64_t count);
void WriteFloats(void* data, DType dtype, std::span<const float> values);

class RefKernels : public Kernels {
 public:
  std::string_view name() const override { return "ref"; }

  std::unique_ptr<PackedMat> Pack(std::span<const ConstMat> parts, DType compute) override;
  std::unique_ptr<PackedMat> PackInt8(std::span<const Int8Part> parts) override;
  std::unique_ptr<PackedKvB> PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) override;

  void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) override;
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
  void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                    const KvLayerView& cache, Mat out) override;
  void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans, const MlaShape& shape,
                const KvLayerView& cache) override;
  void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                    const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) override;

  void RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) override;
  void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
              const ExpertWeights& experts, Mat y) override;

  size_t scratch_bytes() const override { return 0; }
};

// What the reference multiplies with.
class RefMat : public PackedMat {
 public:
  // y[n] = w · x[k], x quantised first where w is int8.
  virtual std::vector<float> Apply(std::span<const float> x) const = 0;
};

// A weight matrix held as fp32 rows, after rounding to the compute type.
class RefPackedMat : public RefMat {
 public:
  RefPackedMat(int64_t n, int64_t k, std::vector<float> rows) : n_(n), k_(k), rows_(std::move(rows)) {}
  int64_t n() const override { return n_; }
  int64_t k() const override { return k_; }
  size_t bytes() const override { return rows_.size() * sizeof(float); }

  std::vector<float> Apply(std::span<const float> x) const override;

 private:
  int64_t n_;
  int64_t k_;
  std::vector<float> rows_;  // [n, k]
};

// Int8Part, stacked.
class RefInt8Mat : public RefMat {
 public:
  explicit RefInt8Mat(std::span<const Int8Part> parts);
  int64_t n() const override { return static_cast<int64_t>(scales_.size()); }
  int64_t k() const override { return k_; }
  size_t bytes() const override {
    return rows_.size() + scales_.size() * sizeof(float) + biases_.size() * sizeof(int32_t);
  }

  std::vector<float> Apply(std::span<const float> x) const override;

 private:
  int64_t k_;
  std::vector<int8_t> rows_;     // [n, k]
  std::vector<float> scales_;    // weight_scale, or deq_scale
  std::vector<int32_t> biases_;  // quant_bias; dynamic: 0
  float input_scale_;
  int32_t input_offset_;
};

class RefPackedKvB : public PackedKvB {
 public:
  RefPackedKvB(const MlaShape& shape, std::vector<float> rows) : shape_(shape), rows_(std::move(rows)) {}
  size_t bytes() const override { return rows_.size() * sizeof(float); }

  // Rows of head `head` that make its keys, [nope_dim, kv_lora_rank], and its values, [v_dim, kv_lora_rank].
  const float* KeyRows(int32_t head) const {
    return &rows_[int64_t{head} * (shape_.nope_dim + shape_.v_dim) * shape_.kv_lora_rank];
  }
  const float* ValueRows(int32_t head) const {
    return KeyRows(head) + int64_t{shape_.nope_dim} * shape_.kv_lora_rank;
  }

 private:
  MlaShape shape_;
  std::vector<float> rows_;  // [num_heads][nope_dim + v_dim][kv_lora_rank]
};

}  // namespace penstock
