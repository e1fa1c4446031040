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
  const int64_t head_q = config.nope_dim + config.rope_dim;
  const int64_t q = heads * head_q;
  const int64_t q_rank = config.q_lora_rank;
  const int64_t rank = config.kv_lora_rank;
  std::vector<TensorSpec> specs = {
      {"self_attn.kv_a_proj_with_mqa.weight",
       {rank + config.rope_dim, hidden},
       Shard::kReplicated,
       Projection::kAttention},
      InUnits(config.nope_dim + config.v_dim, {"self_attn.kv_b_proj.weight",
                                               {heads * (config.nope_dim + config.v_dim), rank},
                                               Shard::kColumn,
                                               Projection::kLatentUp}),
      InUnits(
          config.v_dim,
          {"self_attn.o_proj.weight", {hidden, heads * config.v_dim}, Shard::kRow, Projection::kAttention}),
  };
  if (q_rank > 0) {
    specs.push_back(
        {"self_attn.q_a_proj.weight", {q_rank, hidden}, Shard::kReplicated, Projection::kAttention});
    table.AddLayer(layer, NormSpecs("self_attn.q_a_layernorm", q_rank));
    specs.push_back(
        InUnits(head_q, {"self_attn.q_b_proj.weight", {q, q_rank}, Shard::kColumn, Projection::kAttention}));
  } else {
    specs.push_back(
        InUnits(head_q, {"self_attn.q_proj.weight", {q, hidden}, Shard::kColumn, Projection::kAttention}));
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
    : share_(weights.share()),
      hidden_dim_(config.hidden_dim),
      shape_{.num_heads = static_cast<int32_t>(weights.ColsOf("self_attn.o_proj.weight") / config.v_dim),
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

// Where only own rows of x are there, the others are gathered after the first product, which is narrower. Not
// where it holds queries of this rank's heads.
Mat MlaAttention::Queries(const LayerStep& step, const Mat& x, const Mat& first) const {
  Kernels& kernels = step.kernels;
  if (!q_is_low_rank()) step.sharing.Gather(x);
  const Mat kept_x = q_is_low_rank() ? step.sharing.Kept(x) : x;
  const Mat kept_first = q_is_low_rank() ? step.sharing.Kept(first) : first;
  if (kept_x.rows > 0) {
    kernels.Linear(kept_x, *first_, kept_first, DataOrNull(first_bias_));
    const Mat latent = kept_first.Cols(first_q_dim(), shape_.kv_lora_rank);
    kernels.RmsNorm(latent, kv_a_norm_.weight.data(), kInnerNormEps, latent, DataOrNull(kv_a_norm_.bias));
  }
  const Mat q_a = first.Cols(0, first_q_dim());
  if (!q_is_low_rank()) return q_a;
  if (kept_x.rows > 0) {
    const Mat kept_q_a = kept_first.Cols(0, first_q_dim());
    kernels.RmsNorm(kept_q_a, q_a_norm_.weight.data(), kInnerNormEps, kept_q_a, DataOrNull(q_a_norm_.bias));
  }
  step.sharing.Gather(first);
  const Mat q = step.workspace.Take(x.rows, q_dim(), x.dtype);
  if (x.rows > 0) kernels.Linear(q_a, *q_b_, q);
  return q;
}

void MlaAttention::Store(const LayerStep& step, const Mat& first) const {
  const int64_t rank = shape_.kv_lora_rank;
  if (first.rows > 0) {
    step.kernels.Rope(first.Cols(first_q_dim() + rank, shape_.rope_dim), 1, shape_.rope_dim, step.positions,
                      step.rope, rope_style_);
  }
  step.context.ShareRows(first.Cols(first_q_dim(), rank + shape_.rope_dim), step.workspace,
                         [&](const ConstMat& rows, std::span<const SeqSpan> spans) {
                           step.kernels.MlaStore(rows.Cols(0, rank), rows.Cols(rank, shape_.rope_dim), spans,
                                                 shape_, step.kv);
                         });
}

void MlaAttention::Forward(const LayerStep& step, const Mat& x, const Mat& residual) const {
  const Workspace::Scope scope(step.workspace);
  Kernels& kernels = step.kernels;
  const Mat first = step.workspace.Take(x.rows, first_dim(), x.dtype);
  const Mat all_q = Queries(step, x, first);
  if (x.rows > 0) {
    kernels.Rope(all_q.Cols(shape_.nope_dim, q_dim() - shape_.nope_dim), shape_.num_heads,
                 static_cast<int32_t>(head_q_dim()), step.positions, step.rope, rope_style_);
  }
  Store(step, first);

  if (residual.rows == 0) return;
  const Mat q = step.QueryRows(all_q);
  const Mat out = step.workspace.Take(q.rows, v_dim(), x.dtype);
  kernels.MlaAttention(q, step.query_spans, shape_, step.kv, *kv_b_, out);
  step.AddProduct(out, *o_, DataOrNull(o_bias_), residual);
}

size_t MlaAttention::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  const int64_t out_cols = std::max(v_dim(), (q_dim() + v_dim()) / 2 + 1);  // as in gqa_attention.cc
  const size_t after_store = Workspace::BytesFor(num_tokens, out_cols, dtype) +
                             RowSharing::WorkspaceBytes(share_, num_tokens, hidden_dim_, dtype);
  return Workspace::BytesFor(num_tokens, first_dim(), dtype) +
         (q_is_low_rank() ? Workspace::BytesFor(num_tokens, q_dim(), dtype) : 0) +
         std::max(after_store, ContextSplit::WorkspaceBytes(share_.pcp_size, num_tokens,
                                                            shape_.kv_lora_rank + shape_.rope_dim, dtype));
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
