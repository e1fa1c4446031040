// q_a (or q itself) and kv_a are one product:
//
//   | q_a: q_lora_rank, or q: heads * (nope + rope) | latent: kv_lora_rank | rotary key: rope |
//
// SPDX-License-Identifier: Apache-2.0
#include "model/mla_attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/checked_math.h"
#include "model/rope_table.h"

namespace penstock {
namespace {

// Of the two inner norms, whatever rms_norm_eps is.
constexpr float kInnerNormEps = 1e-6f;

constexpr int64_t kAbsorbedTokens = 64;  // that the kernels' MlaAttention absorbs at a time

}  // namespace

float MlaSoftmaxScale(const ModelConfig& config) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.nope_dim) + config.rope_dim);
  const RopeConfig& rope = config.rope;
  if (rope.type == RopeConfig::Type::kDefault || rope.mscale_all_dim == 0.0) return static_cast<float>(scale);
  const double mscale = YarnMscale(rope.factor, rope.mscale_all_dim);
  return static_cast<float>(scale * mscale * mscale);
}

void MlaAttention::Declare(const ModelConfig& config, const Options& options, int32_t layer,
                           TensorTable& table) {
  const int64_t hidden = config.hidden_dim;
  const int64_t heads = config.num_heads;
  const int64_t q = heads * (config.nope_dim + config.rope_dim);
  const int64_t q_rank = config.q_lora_rank;
  const int64_t rank = config.kv_lora_rank;
  std::vector<TensorSpec> specs = {
      {"self_attn.kv_a_proj_with_mqa.weight",
       {rank + config.rope_dim, hidden},
       Shard::kReplicated,
       Projection::kAttention},
      {"self_attn.kv_b_proj.weight",
       {heads * (config.nope_dim + config.v_dim), rank},
       Shard::kColumn,
       Projection::kLatentUp},
      {"self_attn.o_proj.weight", {hidden, heads * config.v_dim}, Shard::kRow, Projection::kAttention},
  };
  if (q_rank > 0) {
    specs.push_back(
        {"self_attn.q_a_proj.weight", {q_rank, hidden}, Shard::kReplicated, Projection::kAttention});
    table.AddLayer(layer, NormSpecs("self_attn.q_a_layernorm", q_rank));
    specs.push_back({"self_attn.q_b_proj.weight", {q, q_rank}, Shard::kColumn, Projection::kAttention});
  } else {
    specs.push_back({"self_attn.q_proj.weight", {q, hidden}, Shard::kColumn, Projection::kAttention});
  }
  if (options.bias) {
    if (q_rank > 0) specs.push_back({"self_attn.q_a_proj.bias", {q_rank}, Shard::kReplicated});
    specs.push_back({"self_attn.kv_a_proj_with_mqa.bias", {rank + config.rope_dim}, Shard::kReplicated});
    specs.push_back({"self_attn.o_proj.bias", {hidden}, Shard::kReplicated});
  }
  table.AddLayer(layer, NormSpecs("self_attn.kv_a_layernorm", rank));
  table.AddLayer(layer, std::move(specs));
}

MlaAttention::MlaAttention(const ModelConfig& config, const Options& options, WeightSource& weights)
    : shape_{.num_heads = config.num_heads,
             .kv_lora_rank = config.kv_lora_rank,
             .nope_dim = config.nope_dim,
             .rope_dim = config.rope_dim,
             .v_dim = config.v_dim,
             .scale = MlaSoftmaxScale(config)},
      q_lora_rank_(config.q_lora_rank),
      rope_style_(config.rope_interleave ? RopeStyle::kInterleaved : RopeStyle::kHalf) {
  const char* first_q = q_is_low_rank() ? "self_attn.q_a_proj.weight" : "self_attn.q_proj.weight";
  first_ = weights.Matrix({first_q, "self_attn.kv_a_proj_with_mqa.weight"});
  if (q_is_low_rank()) {
    q_a_norm_ = weights.Norm("self_attn.q_a_layernorm");
    q_b_ = weights.Matrix({"self_attn.q_b_proj.weight"});
  }
  kv_a_norm_ = weights.Norm("self_attn.kv_a_layernorm");
  kv_b_ = weights.KvB("self_attn.kv_b_proj.weight", shape_);
  o_ = weights.Matrix({"self_attn.o_proj.weight"});
  if (options.bias) {
    if (q_is_low_rank()) {
      first_bias_ = weights.Bias({"self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"});
    } else {
      first_bias_ = weights.Bias({"self_attn.kv_a_proj_with_mqa"});
      if (!first_bias_.empty())
        first_bias_.insert(first_bias_.begin(), q_dim(), 0.0f);  // the direct q has none
    }
    o_bias_ = weights.Bias({"self_attn.o_proj"});
  }
}

void MlaAttention::Forward(const LayerStep& step, ConstMat x, Mat residual) const {
  const Workspace::Scope scope(step.workspace);
  Kernels& kernels = step.kernels;
  const Mat first = step.workspace.Take(x.rows, first_dim(), x.dtype);
  const Mat latent = first.Cols(first_q_dim(), shape_.kv_lora_rank);
  const Mat k_rope = first.Cols(first_q_dim() + shape_.kv_lora_rank, shape_.rope_dim);
  Mat q = first.Cols(0, first_q_dim());

  kernels.Linear(x, *first_, first, DataOrNull(first_bias_));
  if (q_is_low_rank()) {
    const Mat q_a = q;
    kernels.RmsNorm(q_a, q_a_norm_.weight.data(), kInnerNormEps, q_a, DataOrNull(q_a_norm_.bias));
    q = step.workspace.Take(x.rows, q_dim(), x.dtype);
    kernels.Linear(q_a, *q_b_, q);
  }
  kernels.RmsNorm(latent, kv_a_norm_.weight.data(), kInnerNormEps, latent, DataOrNull(kv_a_norm_.bias));
  kernels.Rope(q.Cols(shape_.nope_dim, q_dim() - shape_.nope_dim), shape_.num_heads,
               static_cast<int32_t>(head_q_dim()), step.positions, step.rope, rope_style_);
  kernels.Rope(k_rope, 1, shape_.rope_dim, step.positions, step.rope, rope_style_);
  kernels.MlaStore(latent, k_rope, step.spans, shape_, step.kv);

  const Mat out = step.workspace.Take(x.rows, v_dim(), x.dtype);
  if (step.query_spans.empty()) return;
  kernels.MlaAttention(q, step.query_spans, shape_, step.kv, *kv_b_, out);
  ForRowRuns(step.query_spans, [&](int64_t begin, int64_t count) {
    kernels.Linear(out.Rows(begin, count), *o_, residual.Rows(begin, count), DataOrNull(o_bias_),
                   /*accumulate=*/true);
  });
}

size_t MlaAttention::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  return Workspace::BytesFor(num_tokens, first_dim(), dtype) +
         (q_is_low_rank() ? Workspace::BytesFor(num_tokens, q_dim(), dtype) : 0) +
         Workspace::BytesFor(num_tokens, v_dim(), dtype);
}

size_t MlaAttention::KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const {
  return kernels.MlaBlockBytes(shape_, block_size, dtype);
}

// Absorbed queries and outputs, in the space of the latents, in fp32, of so many tokens at a time.
size_t MlaAttention::KernelScratchBytes(int64_t num_tokens) const {
  const int64_t floats_per_head =
      2 * RoundUp<int64_t>(shape_.kv_lora_rank, 64) + RoundUp(shape_.rope_dim, 64);
  return static_cast<size_t>(std::min(num_tokens, kAbsorbedTokens) * shape_.num_heads * floats_per_head) *
         sizeof(float);
}

}  // namespace penstock
