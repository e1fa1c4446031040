// q, k and v are one product: a row of it is one run of heads, | q head 0 | … | k head 0 | … | v head 0 | … |
//
// SPDX-License-Identifier: Apache-2.0
#include "model/gqa_attention.h"

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
      {"self_attn.q_proj.weight", {q, hidden}, Shard::kColumn, Projection::kAttention},
      {"self_attn.k_proj.weight", {kv, hidden}, Shard::kColumn, Projection::kAttention},
      {"self_attn.v_proj.weight", {kv, hidden}, Shard::kColumn, Projection::kAttention},
      {"self_attn.o_proj.weight", {hidden, q}, Shard::kRow, Projection::kAttention},
  };
  if (options.bias) {
    specs.push_back({"self_attn.q_proj.bias", {q}, Shard::kColumn});
    specs.push_back({"self_attn.k_proj.bias", {kv}, Shard::kColumn});
    specs.push_back({"self_attn.v_proj.bias", {kv}, Shard::kColumn});
    specs.push_back({"self_attn.o_proj.bias", {hidden}, Shard::kReplicated});
  }
  table.AddLayer(layer, std::move(specs));
  if (options.qk_norm) {
    table.AddLayer(layer, NormSpecs("self_attn.q_norm", head));
    table.AddLayer(layer, NormSpecs("self_attn.k_norm", head));
  }
}

GqaAttention::GqaAttention(const ModelConfig& config, const Options& options, WeightSource& weights)
    : shape_{.num_heads = config.num_heads,
             .num_kv_heads = config.num_kv_heads,
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

void GqaAttention::Forward(const LayerStep& step, ConstMat x, Mat residual) const {
  const Workspace::Scope scope(step.workspace);
  Kernels& kernels = step.kernels;
  const Mat qkv = step.workspace.Take(x.rows, q_dim() + 2 * kv_dim(), x.dtype);
  const Mat q = qkv.Cols(0, q_dim());
  const Mat k = qkv.Cols(q_dim(), kv_dim());
  const Mat v = qkv.Cols(q_dim() + kv_dim(), kv_dim());

  kernels.Linear(x, *qkv_, qkv, DataOrNull(qkv_bias_));
  if (q_norm_.bias.empty() && k_norm_.bias.empty()) {
    const GqaNormRope how{.q_norm = DataOrNull(q_norm_.weight),
                          .k_norm = DataOrNull(k_norm_.weight),
                          .eps = norm_eps_,
                          .positions = step.positions,
                          .rope = &step.rope,
                          .style = RopeStyle::kHalf};
    kernels.GqaNormRopeStore(q, k, v, how, step.spans, shape_, step.kv);
  } else {  // only quantised checkpoints of the anti-outlier kind have these
    kernels.HeadRmsNorm(q, shape_.num_heads, shape_.head_dim, q_norm_.weight.data(), norm_eps_,
                        DataOrNull(q_norm_.bias));
    kernels.HeadRmsNorm(k, shape_.num_kv_heads, shape_.head_dim, k_norm_.weight.data(), norm_eps_,
                        DataOrNull(k_norm_.bias));
    kernels.Rope(qkv.Cols(0, q_dim() + kv_dim()), shape_.num_heads + shape_.num_kv_heads, shape_.head_dim,
                 step.positions, step.rope, RopeStyle::kHalf);
    kernels.GqaStore(k, v, step.spans, shape_, step.kv);
  }

  const Mat out = step.workspace.Take(x.rows, q_dim(), x.dtype);
  if (step.query_spans.empty()) return;
  kernels.GqaAttention(q, step.query_spans, shape_, step.kv, out);
  ForRowRuns(step.query_spans, [&](int64_t begin, int64_t count) {
    kernels.Linear(out.Rows(begin, count), *o_, residual.Rows(begin, count), DataOrNull(o_bias_),
                   /*accumulate=*/true);
  });
}

size_t GqaAttention::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  return Workspace::BytesFor(num_tokens, q_dim() + 2 * kv_dim(), dtype) +
         Workspace::BytesFor(num_tokens, q_dim(), dtype);
}

size_t GqaAttention::KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const {
  return kernels.GqaBlockBytes(shape_, block_size, dtype);
}

}  // namespace penstock
