// q, k and v are one product: a row of it is one run of heads, | q head 0 | … | k head 0 | … | v head 0 | … |
//
// SPDX-License-Identifier: Apache-2.0
#include "model/gqa_attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace penstock {

void GqaAttention::Declare(const ModelConfig& config, const Options& options, int32_t layer,
                           TensorTable& table) {
  const int64_t hidden = config.hidden_dim;
  const int64_t head = config.head_dim;
  const int64_t q = config.num_heads * head;
  const int64_t kv = config.num_kv_heads * head;
  std::vector<TensorSpec> specs = {
      InUnits(head, {"self_attn.q_proj.weight", {q, hidden}, Shard::kColumn, Projection::kAttention}),
      InUnits(head, {"self_attn.k_proj.weight", {kv, hidden}, Shard::kColumn, Projection::kAttention}),
      InUnits(head, {"self_attn.v_proj.weight", {kv, hidden}, Shard::kColumn, Projection::kAttention}),
      InUnits(head, {"self_attn.o_proj.weight", {hidden, q}, Shard::kRow, Projection::kAttention}),
  };
  if (options.bias) {
    specs.push_back(InUnits(head, {"self_attn.q_proj.bias", {q}, Shard::kColumn}));
    specs.push_back(InUnits(head, {"self_attn.k_proj.bias", {kv}, Shard::kColumn}));
    specs.push_back(InUnits(head, {"self_attn.v_proj.bias", {kv}, Shard::kColumn}));
    specs.push_back({"self_attn.o_proj.bias", {hidden}, Shard::kReplicated});
  }
  table.AddLayer(layer, std::move(specs));
  if (options.qk_norm) {
    table.AddLayer(layer, NormSpecs("self_attn.q_norm", head));
    table.AddLayer(layer, NormSpecs("self_attn.k_norm", head));
  }
}

GqaAttention::GqaAttention(const ModelConfig& config, const Options& options, WeightSource& weights)
    : share_(weights.share()),
      hidden_dim_(config.hidden_dim),
      shape_{
          .num_heads = static_cast<int32_t>(weights.RowsOf("self_attn.q_proj.weight") / config.head_dim),
          .num_kv_heads = static_cast<int32_t>(weights.RowsOf("self_attn.k_proj.weight") / config.head_dim),
          .head_dim = config.head_dim,
          .scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim))},
      norm_eps_(config.rms_norm_eps),
      qkv_(weights.Matrix({"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"})),
      o_(weights.Matrix({"self_attn.o_proj.weight"})) {
  if (options.bias) {
    qkv_bias_ = weights.Bias({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    o_bias_ = weights.Bias({"self_attn.o_proj"});
  }
  if (options.qk_norm) {
    q_norm_ = weights.Norm("self_attn.q_norm");
    k_norm_ = weights.Norm("self_attn.k_norm");
  }
}

void GqaAttention::NormRopeStore(const LayerStep& step, const Mat& qkv) const {
  Kernels& kernels = step.kernels;
  const Mat q = qkv.Cols(0, q_dim());
  const Mat k = qkv.Cols(q_dim(), kv_dim());
  const Mat v = qkv.Cols(q_dim() + kv_dim(), kv_dim());
  if (q_norm_.bias.empty() && k_norm_.bias.empty() && !step.context.is_shared()) {
    const GqaNormRope how{.q_norm = DataOrNull(q_norm_.weight),
                          .k_norm = DataOrNull(k_norm_.weight),
                          .eps = norm_eps_,
                          .positions = step.positions,
                          .rope = &step.rope,
                          .style = RopeStyle::kHalf};
    kernels.GqaNormRopeStore(q, k, v, how, step.spans, shape_, step.kv);
    return;
  }
  if (qkv.rows > 0 && !q_norm_.weight.empty()) {
    kernels.HeadRmsNorm(q, shape_.num_heads, shape_.head_dim, q_norm_.weight.data(), norm_eps_,
                        DataOrNull(q_norm_.bias));
    kernels.HeadRmsNorm(k, shape_.num_kv_heads, shape_.head_dim, k_norm_.weight.data(), norm_eps_,
                        DataOrNull(k_norm_.bias));
  }
  if (qkv.rows > 0) {
    kernels.Rope(qkv.Cols(0, q_dim() + kv_dim()), shape_.num_heads + shape_.num_kv_heads, shape_.head_dim,
                 step.positions, step.rope, RopeStyle::kHalf);
  }
  step.context.ShareRows(qkv.Cols(q_dim(), 2 * kv_dim()), step.workspace,
                         [&](const ConstMat& rows, std::span<const SeqSpan> spans) {
                           kernels.GqaStore(rows.Cols(0, kv_dim()), rows.Cols(kv_dim(), kv_dim()), spans,
                                            shape_, step.kv);
                         });
}

void GqaAttention::Forward(const LayerStep& step, const Mat& x, const Mat& residual) const {
  const Workspace::Scope scope(step.workspace);
  Kernels& kernels = step.kernels;
  const Mat qkv = step.workspace.Take(x.rows, q_dim() + 2 * kv_dim(), x.dtype);
  step.GatheredProduct(x, *qkv_, DataOrNull(qkv_bias_), qkv);
  NormRopeStore(step, qkv);

  if (residual.rows == 0) return;
  const Mat q = step.QueryRows(qkv.Cols(0, q_dim()));
  const Mat out = step.workspace.Take(q.rows, q_dim(), x.dtype);
  kernels.GqaAttention(q, step.query_spans, shape_, step.kv, out);
  step.AddProduct(out, *o_, DataOrNull(o_bias_), residual);
}

// Where less than all rows are wanted, they are at most half: the copies of q and the outputs take no more.
size_t GqaAttention::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  const size_t after_store = Workspace::BytesFor(num_tokens, q_dim(), dtype) +
                             RowSharing::WorkspaceBytes(share_, num_tokens, hidden_dim_, dtype);
  return Workspace::BytesFor(num_tokens, q_dim() + 2 * kv_dim(), dtype) +
         std::max({after_store, LayerStep::GatheredProductBytes(share_, num_tokens, hidden_dim_),
                   ContextSplit::WorkspaceBytes(share_.pcp_size, num_tokens, 2 * kv_dim(), dtype)});
}

size_t GqaAttention::KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const {
  return kernels.GqaBlockBytes(shape_, block_size, dtype);
}

}  // namespace penstock
