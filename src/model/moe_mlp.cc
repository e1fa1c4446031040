// Router logits are fp32: products of activations and gate weights as they are, summed in fp32.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/moe_mlp.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "comm/collectives.h"
#include "model/expert_exchange.h"
#include "model/expert_load.h"

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

// As x, all zero.
Mat TakeZeros(const LayerStep& step, const Mat& x) {
  const Mat zeros = step.workspace.Take(x.rows, x.cols, x.dtype);
  std::memset(zeros.data, 0, static_cast<size_t>(zeros.rows * zeros.cols) * DTypeBytes(zeros.dtype));
  return zeros;
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

MoeMlp::MoeMlp(const ModelConfig& config, const Options& options, int32_t layer, WeightSource& weights)
    : layer_(layer),
      share_(weights.share()),
      blocks_(ExpertPlacement::Blocks(config.num_experts, share_.ep_size)),
      placement_(share_.experts != nullptr ? share_.experts : &blocks_),
      hidden_dim_(config.hidden_dim),
      intermediate_dim_(weights.RowsOf(ExpertPrefix(0) + "gate_proj.weight")),
      router_(config.router),
      gate_(weights.Matrix({"mlp.gate.weight"})) {
  if (options.score_bias) {
    score_bias_ = weights.Vector({"mlp.gate.e_score_correction_bias"});
    router_.bias = score_bias_.data();
  }
  CheckExpertTypes(config.num_experts, weights);
  experts_.gate_up.resize(config.num_experts);
  experts_.down.resize(config.num_experts);
  for (int32_t e = 0; e < config.num_experts; ++e) {
    if (!placement_->Holds(layer, e, share_.ep_rank)) continue;
    const std::string prefix = ExpertPrefix(e);
    experts_.gate_up[e] = weights.Matrix({prefix + "gate_proj.weight", prefix + "up_proj.weight"});
    experts_.down[e] = weights.Matrix({prefix + "down_proj.weight"});
  }
  if (config.num_shared_experts > 0) {
    shared_ = std::make_unique<DenseMlp>(kSharedPrefix, weights);
  }
}

MoeMlp::Choices MoeMlp::Route(const LayerStep& step, const Mat& x) const {
  const Mat ids = step.workspace.Take(x.rows, router_.top_k, DType::kI32);
  const Mat weights = step.workspace.Take(x.rows, router_.top_k, DType::kF32);
  const Choices choices = {ids.Row<int32_t>(0), weights.Row<float>(0)};
  if (x.rows == 0) return choices;
  const Workspace::Scope scope(step.workspace);
  const Mat logits = step.workspace.Take(x.rows, router_.num_experts, DType::kF32);
  step.kernels.Linear(x, *gate_, logits);
  step.kernels.RouteTopK(logits, router_, choices.ids, choices.weights);
  if (step.expert_load != nullptr) {
    step.expert_load->Count(layer_, std::span(choices.ids, static_cast<size_t>(x.rows * router_.top_k)));
  }
  return choices;
}

void MoeMlp::Forward(const LayerStep& step, const Mat& x, const Mat& residual) const {
  if (share_.ep_size > 1) return ForwardSpread(step, x, residual);
  if (x.rows == 0) return;
  const Workspace::Scope scope(step.workspace);
  step.sharing.Gather(x);
  const Choices choices = Route(step, x);
  Mat sum = residual;
  if (step.sharing.tp != nullptr) sum = TakeZeros(step, x);
  if (shared_ != nullptr) shared_->AddPartial(step, x, sum);
  step.kernels.MoeMlp(x, choices.ids, choices.weights, router_.top_k, experts_, sum);
  if (step.sharing.tp != nullptr) step.sharing.AddSum(step.kernels, step.workspace, sum, residual);
}

// Each rank of a tensor-parallel group adds to its own rows of the residual stream first; if they are to have
// all rows, they gather them once, at the end.
void MoeMlp::ForwardSpread(const LayerStep& step, const Mat& x, const Mat& residual) const {
  const Workspace::Scope scope(step.workspace);
  const RowSharing own{step.sharing.tp, step.sharing.tp != nullptr};
  const bool all_rows = own.tp != nullptr && !step.sharing.sequence_parallel;
  if (shared_ != nullptr && all_rows) {
    const Mat sum = TakeZeros(step, x);
    shared_->AddPartial(step, x, sum);
    own.AddSum(step.kernels, step.workspace, sum, residual);
  } else if (shared_ != nullptr) {
    shared_->Forward(step, x, residual);
  }
  const Mat own_x = own.Kept(x);
  const Choices choices = Route(step, own_x);
  step.expert_exchange->Run({own_x, choices.ids, choices.weights, router_.top_k, own.Kept(residual)},
                            *placement_, layer_, experts_);
  if (all_rows) AllGatherRows(*own.tp, residual);
}

size_t MoeMlp::WorkspaceBytes(int64_t num_tokens, DType dtype) const {
  return Workspace::BytesFor(num_tokens, router_.num_experts, DType::kF32) +
         Workspace::BytesFor(num_tokens, router_.top_k, DType::kI32) +
         Workspace::BytesFor(num_tokens, router_.top_k, DType::kF32) +
         RowSharing::WorkspaceBytes(share_, num_tokens, hidden_dim_, dtype) +
         (shared_ == nullptr ? 0 : shared_->WorkspaceBytes(num_tokens, dtype));
}

// Where all ranks' tokens want this rank's experts.
int64_t MoeMlp::MaxExpertRows(int64_t num_tokens) const {
  if (share_.ep_size == 1) return num_tokens;
  const int64_t same_tokens = int64_t{share_.tp_size} * share_.pcp_size;  // ranks that share a step
  const int64_t total_rows = share_.ep_size / same_tokens * num_tokens;
  return ExpertExchange::MaxPieceRows(total_rows, router_.top_k, router_.num_experts);
}

// Of every choice the inner activations and the output, in pieces of bounded size; of every token the sum.
size_t MoeMlp::KernelScratchBytes(int64_t num_tokens) const {
  const int64_t rows = MaxExpertRows(num_tokens);
  const int64_t choice_floats = rows * router_.top_k * (3 * intermediate_dim_ + hidden_dim_);
  const size_t kernels = std::min(kMaxPieceBytes, static_cast<size_t>(choice_floats) * sizeof(float)) +
                         static_cast<size_t>(rows * hidden_dim_) * sizeof(float);
  if (share_.ep_size == 1) return kernels;
  // Of two pieces: rows that came and their sums; rows that went, to at most top_k ranks, and what came back.
  const int64_t sent_rows = std::min<int64_t>(router_.top_k, share_.ep_size - 1) * std::min(num_tokens, rows);
  return kernels + static_cast<size_t>(2 * 2 * (rows + sent_rows) * hidden_dim_) * sizeof(float);
}

}  // namespace penstock
