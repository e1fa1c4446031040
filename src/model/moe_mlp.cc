// Router logits are fp32: products of activations and gate weights as they are, summed in fp32.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/moe_mlp.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace penstock {
namespace {

constexpr size_t kMaxPieceBytes = size_t{64} << 20;  // of the kernels' MoeMlp
constexpr char kSharedPrefix[] = "mlp.shared_experts.";

std::string ExpertPrefix(int32_t expert) { return fmt::format("mlp.experts.{}.", expert); }

// The kernels take all experts of a layer at once.
void CheckExpertTypes(int32_t num_experts, WeightSource& weights) {
  std::vector<std::string> names;
  for (int32_t e = 0; e < num_experts; ++e) {
    for (const char* projection : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
      names.push_back(ExpertPrefix(e) + projection);
    }
  }
  weights.CheckExperts(names);
}

}  // namespace

void MoeMlp::Declare(const ModelConfig& config, const Options& options, int32_t layer, TensorTable& table) {
  const int64_t hidden = config.hidden_dim;
  const int64_t inter = config.moe_intermediate_dim;
  std::vector<TensorSpec> specs = {{"mlp.gate.weight", {config.num_experts, hidden}, Shard::kReplicated}};
  if (options.score_bias) {
    specs.push_back({"mlp.gate.e_score_correction_bias", {config.num_experts}, Shard::kReplicated});
  }
  for (int32_t e = 0; e < config.num_experts; ++e) {
    const std::string expert = ExpertPrefix(e);
    specs.push_back(
        {expert + "gate_proj.weight", {inter, hidden}, Shard::kExpertColumn, Projection::kExpert});
    specs.push_back({expert + "up_proj.weight", {inter, hidden}, Shard::kExpertColumn, Projection::kExpert});
    specs.push_back({expert + "down_proj.weight", {hidden, inter}, Shard::kExpertRow, Projection::kExpert});
  }
  table.AddLayer(layer, std::move(specs));
  if (config.num_shared_experts > 0) {
    DenseMlp::Declare(kSharedPrefix, hidden, SharedDim(config), layer, table);
  }
}

MoeMlp::MoeMlp(const ModelConfig& config, const Options& options, WeightSource& weights)
    : share_(weights.share()),
      hidden_dim_(config.hidden_dim),
      intermediate_dim_(weights.RowsOf(ExpertPrefix(0) + "gate_proj.weight")),
      router_(config.router),
      gate_(weights.Matrix({"mlp.gate.weight"})) {
  if (options.score_bias) {
    score_bias_ = weights.Vector({"mlp.gate.e_score_correction_bias"});
    router_.bias = score_bias_.data();
  }
  CheckExpertTypes(config.num_experts, weights);
  for (int32_t e = 0; e < config.num_experts; ++e) {
    const std::string prefix = ExpertPrefix(e);
    experts_.gate_up.push_back(weights.Matrix({prefix + "gate_proj.weight", prefix + "up_proj.weight"}));
    experts_.down.push_back(weights.Matrix({prefix + "down_proj.weight"}));
  }
  if (config.num_shared_experts > 0) {
    shared_ = std::make_unique<DenseMlp>(kSharedPrefix, weights);
  }
}

void MoeMlp::Forward(const LayerStep& step, const Mat& x, const Mat& residual) const {
  if (x.rows == 0) return;
  const Workspace::Scope scope(step.workspace);
  step.sharing.Gather(x);
  const Mat logits = step.workspace.Take(x.rows, router_.num_experts, DType::kF32);
  const Mat ids = step.workspace.Take(x.rows, router_.top_k, DType::kI32);
  const Mat scores = step.workspace.Take(x.rows, router_.top_k, DType::kF32);
  step.kernels.Linear(x, *gate_, logits);
  step.kernels.RouteTopK(logits, router_, ids.Row<int32_t>(0), scores.Row<float>(0));
  Mat sum = residual;
  if (step.sharing.tp != nullptr) {
    sum = step.workspace.Take(x.rows, x.cols, x.dtype);
    std::memset(sum.data, 0, static_cast<size_t>(sum.rows * sum.cols) * DTypeBytes(sum.dtype));
  }
  if (shared_ != nullptr) shared_->AddPartial(step, x, sum);
  step.kernels.MoeMlp(x, ids.Row<int32_t>(0), scores.Row<float>(0), router_.top_k, experts_, sum);
  if (step.sharing.tp != nullptr) step.sharing.AddSum(step.kernels, step.workspace, sum, residual);
}

size_t MoeMlp::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  return Workspace::BytesFor(num_tokens, router_.num_experts, DType::kF32) +
         Workspace::BytesFor(num_tokens, router_.top_k, DType::kI32) +
         Workspace::BytesFor(num_tokens, router_.top_k, DType::kF32) +
         RowSharing::WorkspaceBytes(share_, num_tokens, hidden_dim_, dtype) +
         (shared_ == nullptr ? 0 : shared_->WorkspaceBytes(num_tokens, dtype));
}

// Of every choice the inner activations and the output, in pieces of bounded size; of every token the sum.
size_t MoeMlp::KernelScratchBytes(int64_t num_tokens) const {
  const int64_t choice_floats = num_tokens * router_.top_k * (3 * intermediate_dim_ + hidden_dim_);
  return std::min(kMaxPieceBytes, static_cast<size_t>(choice_floats) * sizeof(float)) +
         static_cast<size_t>(num_tokens * hidden_dim_) * sizeof(float);
}

}  // namespace penstock
