// The residual stream is `hidden` itself: each half of a layer norms it into the workspace and adds its share
// to it.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "comm/collectives.h"
#include "model/rope_table.h"

namespace penstock {
namespace {

constexpr int64_t kMinSavedRows = 16;                  // that are worth it
constexpr size_t kKernelBaseBytes = size_t{64} << 20;  // scratch of the kernels' threads

// Rows of logits, those of this rank's part of the vocabulary beside them, and those of the others.
size_t LogitsBytes(const ModelConfig& config, const ModelOptions& options, const RankShare& share) {
  size_t bytes = Workspace::BytesFor(options.max_logit_rows, config.hidden_dim, options.dtype);
  if (share.tp_size > 1) {
    const int64_t most = CeilDiv<int64_t>(config.vocab_size, share.tp_size);
    bytes += share.tp_size * Workspace::BytesFor(options.max_logit_rows, most, DType::kF32);
  }
  if (share.pcp_size > 1) {
    bytes +=
        Workspace::BytesFor(options.max_logit_rows, config.hidden_dim, options.dtype) +
        Workspace::BytesFor(1,
                            static_cast<int64_t>(ReduceScratchBytes(options.max_logit_rows, config.hidden_dim,
                                                                    options.dtype, share.pcp_size)),
                            DType::kI8);
  }
  return bytes;
}

// The largest layer's, with the normed hidden states beside it; or the embedding's; or those of Logits().
size_t WorkspaceBytes(const ModelConfig& config, const ModelOptions& options, const RankShare& share,
                      const std::vector<DecoderLayer>& layers) {
  size_t largest = 0;
  for (const DecoderLayer& layer : layers) {
    largest = std::max({largest, layer.attention->WorkspaceBytes(options.max_batched_tokens, options.dtype),
                        layer.mlp->WorkspaceBytes(options.max_batched_tokens, options.dtype)});
  }
  const size_t in_layers =
      largest + Workspace::BytesFor(options.max_batched_tokens, config.hidden_dim, options.dtype);
  return std::max(
      {in_layers, LogitsBytes(config, options, share),
       RowSharing::WorkspaceBytes(share, options.max_batched_tokens, config.hidden_dim, options.dtype)});
}

size_t KernelScratchBytes(const ModelOptions& options, const std::vector<DecoderLayer>& layers) {
  size_t largest = 0;
  for (const DecoderLayer& layer : layers) {
    largest = std::max({largest, layer.attention->KernelScratchBytes(options.max_batched_tokens),
                        layer.mlp->KernelScratchBytes(options.max_batched_tokens)});
  }
  return largest + kKernelBaseBytes;
}

void CopyRow(const Mat& mat, int64_t from, int64_t to) {
  if (from == to) return;
  std::memcpy(mat.RowPtr(to), mat.RowPtr(from), static_cast<size_t>(mat.cols) * DTypeBytes(mat.dtype));
}

}  // namespace

DecoderWeights MakeDecoderWeights(const Architecture& architecture, const ModelConfig& config,
                                  const LayerRange& range, const std::string& head_name,
                                  WeightSource& weights) {
  CHECK(0 <= range.first_layer && range.first_layer <= range.last_layer &&
        range.last_layer <= config.num_layers);
  DecoderWeights made;
  if (range.has_embedding) made.embedding = weights.Table("model.embed_tokens.weight");
  for (int32_t layer = range.first_layer; layer < range.last_layer && weights.status().ok(); ++layer) {
    weights.EnterLayer(layer);
    made.layers.push_back(architecture.make_layer(config, layer, weights));
  }
  weights.LeaveLayers();
  if (range.has_head) {
    made.final_norm = weights.Norm("model.norm");
    made.head = weights.Matrix({head_name});
  }
  made.bytes = weights.held_bytes();
  return made;
}

ModelMemory MeasureMemory(const ModelConfig& config, const ModelOptions& options, const RankShare& share,
                          const DecoderWeights& weights, const Kernels& kernels) {
  ModelMemory memory;
  memory.weight_bytes = weights.bytes + RopeTableBytes(RotatedDim(config), options.max_model_len);
  for (const DecoderLayer& layer : weights.layers) {
    memory.kv_block_bytes += layer.attention->KvBlockBytes(kernels, options.block_size, options.KvDType());
  }
  memory.activation_bytes =
      WorkspaceBytes(config, options, share, weights.layers) + KernelScratchBytes(options, weights.layers);
  return memory;
}

DecoderModel::DecoderModel(const ModelConfig& config, const LayerRange& range, const ModelOptions& options,
                           DecoderWeights weights, Kernels& kernels, const RankComms& comms)
    : config_(config),
      range_(range),
      options_(options),
      weights_(std::move(weights)),
      kernels_(kernels),
      comms_(comms),
      memory_(MeasureMemory(config_, options_, range_.share, weights_, kernels_)),
      rope_(MakeRopeTable(config_.rope, RotatedDim(config_), options_.max_model_len)),
      workspace_(WorkspaceBytes(config_, options_, range_.share, weights_.layers)),
      context_(comms_.pcp) {
  CHECK_EQ(range_.share.tp_size, comms_.tp == nullptr ? 1 : comms_.tp->size());
  CHECK_EQ(range_.share.pcp_size, comms_.pcp == nullptr ? 1 : comms_.pcp->size());
  CHECK_EQ(range_.share.ep_size, comms_.ep == nullptr ? 1 : comms_.ep->size());
  if (range_.share.ep_size > 1) expert_exchange_ = std::make_unique<ExpertExchange>(*comms_.ep, kernels_);
  if (config_.num_experts > 0) {
    expert_load_ = std::make_unique<ExpertLoad>(range_.last_layer, config_.num_experts);
  }
}

void DecoderModel::AllocateKv(int32_t num_blocks) {
  CHECK(kv_.empty()) << "the KV cache is there already";
  CHECK_GT(num_blocks, 0);
  std::vector<size_t> layer_block_bytes;
  for (const DecoderLayer& layer : weights_.layers) {
    layer_block_bytes.push_back(
        layer.attention->KvBlockBytes(kernels_, options_.block_size, options_.KvDType()));
  }
  kv_ = KvCache(layer_block_bytes, num_blocks, options_.block_size, options_.KvDType());
}

// Whatever would make a kernel read or write outside of what is ours.
void DecoderModel::CheckBatch(const ModelBatch& batch, const Mat& hidden) const {
  const auto num_tokens = static_cast<int64_t>(batch.token_ids.size());
  CHECK_LE(num_tokens, options_.max_batched_tokens);
  CHECK_EQ(static_cast<int64_t>(batch.positions.size()), num_tokens);
  CHECK_EQ(hidden.rows, num_tokens);
  CHECK_EQ(hidden.cols, config_.hidden_dim);
  CHECK(hidden.dtype == options_.dtype) << DTypeName(hidden.dtype);
  int64_t row = 0;
  for (const SeqSpan& span : batch.spans) {
    CHECK_EQ(span.row, row);
    CHECK(span.len > 0 && span.pos >= 0);
    CHECK_LE(int64_t{span.pos} + span.len, options_.max_model_len);
    row += span.len;
  }
  CHECK_EQ(row, num_tokens) << "rows of the spans";
  for (const int32_t pos : batch.positions) CHECK(pos >= 0 && pos < options_.max_model_len) << pos;
  if (!range_.has_embedding) return;
  for (const int32_t id : batch.token_ids) CHECK(id >= 0 && id < config_.vocab_size) << id;
}

void DecoderModel::Norm(const ConstMat& x, const NormWeights& norm, const Mat& y) {
  if (x.rows == 0) return;
  kernels_.RmsNorm(x, norm.weight.data(), config_.rms_norm_eps, y, DataOrNull(norm.bias));
}

void DecoderModel::Forward(const ModelBatch& batch, Mat hidden) {
  CheckBatch(batch, hidden);
  if (hidden.rows == 0 && !HasCompany()) return;
  context_.Cut(batch);
  const RowSharing sharing{comms_.tp, batch.sequence_parallel && comms_.tp != nullptr};
  const Mat rows = hidden.Rows(0, context_.num_rows());
  if (range_.has_embedding) {
    Embed(sharing, rows);
  } else if (batch.hidden_is_own_rows && comms_.tp != nullptr && !sharing.sequence_parallel) {
    AllGatherRows(*comms_.tp, rows);
  }
  RunLayers(batch, sharing, rows);
}

// Of a vocabulary that is cut, each rank knows some tokens; the sum has one term that is not 0.
void DecoderModel::Embed(const RowSharing& sharing, const Mat& hidden) {
  const ConstMat& table = weights_.embedding.rows;
  if (sharing.tp == nullptr) {
    if (hidden.rows > 0) kernels_.Embed(context_.token_ids(), table, hidden);
    return;
  }
  const Workspace::Scope scope(workspace_);
  const Mat partial = workspace_.Take(hidden.rows, hidden.cols, hidden.dtype);
  const int64_t first = RowCut(config_.vocab_size, sharing.tp->size(), sharing.tp->rank());
  const size_t row_bytes = static_cast<size_t>(hidden.cols) * DTypeBytes(hidden.dtype);
  for (int64_t i = 0; i < hidden.rows; ++i) {
    const int64_t id = context_.token_ids()[i] - first;
    std::memset(hidden.RowPtr(i), 0, row_bytes);
    if (id < 0 || id >= table.rows) {
      std::memset(partial.RowPtr(i), 0, row_bytes);
    } else {
      const auto known = static_cast<int32_t>(id);
      kernels_.Embed({&known, 1}, table, partial.Rows(i, 1));
    }
  }
  sharing.AddSum(kernels_, workspace_, partial, hidden);
}

void DecoderModel::RunLayers(const ModelBatch& batch, RowSharing sharing, const Mat& hidden) {
  const Workspace::Scope scope(workspace_);
  const Mat all_normed = workspace_.Take(hidden.rows, hidden.cols, hidden.dtype);
  Mat residual = hidden, normed = all_normed;
  LayerStep step{.kernels = kernels_,
                 .workspace = workspace_,
                 .rope = rope_,
                 .positions = context_.positions(),
                 .spans = context_.spans(),
                 .kv = {},
                 .query_rows = std::nullopt,
                 .query_spans = context_.spans(),
                 .sharing = sharing,
                 .context = context_,
                 .comms = comms_,
                 .expert_exchange = expert_exchange_.get(),
                 .expert_load = expert_load_.get()};
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const DecoderLayer& layer = weights_.layers[i];
    const bool last = range_.has_head && i + 1 == weights_.layers.size();
    Norm(step.sharing.Kept(residual), layer.attention_norm, step.sharing.Kept(normed));
    step.kv = kv_.Layer(i);
    if (last && FindWanted(batch)) {
      // The rest is done by all ranks of the group for the wanted rows, which are moved up.
      step.sharing.Gather(residual);
      step.sharing.Gather(normed);
      step.sharing.sequence_parallel = false;
      step.query_rows = wanted_rows_;
      step.query_spans = wanted_spans_;
      residual = hidden.Rows(0, static_cast<int64_t>(wanted_rows_.size()));
      for (int64_t r = 0; r < residual.rows; ++r) CopyRow(hidden, wanted_rows_[r], r);
    }
    layer.attention->Forward(step, normed, residual);
    normed = all_normed.Rows(0, residual.rows);
    Norm(step.sharing.Kept(residual), layer.mlp_norm, step.sharing.Kept(normed));
    layer.mlp->Forward(step, normed, residual);
  }
  if (step.query_rows) {
    for (int64_t r = residual.rows; r-- > 0;) CopyRow(hidden, r, wanted_rows_[r]);
  }
  if (range_.has_head) step.sharing.Gather(hidden);
}

// Of the last layer, all rows leave keys and values, but few anything else that is read.
bool DecoderModel::FindWanted(const ModelBatch& batch) {
  if (!batch.wanted_rows) return false;
  wanted_rows_.clear();
  wanted_spans_.clear();
  for (const int32_t batch_row : *batch.wanted_rows) {
    CHECK(batch_row >= 0 && batch_row < static_cast<int64_t>(batch.token_ids.size())) << batch_row;
    const ContextSplit::Place place = context_.Find(batch_row);
    if (place.rank == range_.share.pcp_rank) wanted_rows_.push_back(place.row);
  }
  std::ranges::sort(wanted_rows_);  // the rows of a chunk are, but not those of its parts
  const auto twice = std::ranges::unique(wanted_rows_);
  wanted_rows_.erase(twice.begin(), twice.end());
  const auto num_wanted = static_cast<int64_t>(wanted_rows_.size());
  const int64_t most = std::min(context_.num_rows() / 2, context_.num_rows() - kMinSavedRows);
  if (num_wanted > most) return false;
  auto span = context_.spans().begin();
  for (int32_t i = 0; i < num_wanted; ++i) {
    const int32_t row = wanted_rows_[i];
    while (row >= span->row + span->len) ++span;
    const int32_t pos = span->pos + row - span->row;
    if (!wanted_spans_.empty()) {
      SeqSpan& before = wanted_spans_.back();
      if (before.block_ids == span->block_ids && before.pos + before.len == pos) {
        ++before.len;
        continue;
      }
    }
    wanted_spans_.push_back({i, 1, pos, span->block_ids});
  }
  return true;
}

Mat DecoderModel::OwnRows(const ModelBatch& batch, Mat hidden) const {
  ContextSplit split(comms_.pcp);
  split.Cut(batch);
  const Mat rows = hidden.Rows(0, split.num_rows());
  return comms_.tp == nullptr ? rows : penstock::OwnRows(rows, *comms_.tp);
}

void DecoderModel::CollectRows(const ModelBatch& batch, ConstMat hidden, std::span<const int32_t> rows,
                               Mat out) {
  if (comms_.pcp == nullptr) return Model::CollectRows(batch, hidden, rows, out);
  const Workspace::Scope scope(workspace_);
  const Mat partial = workspace_.Take(out.rows, out.cols, out.dtype);
  const size_t row_bytes = static_cast<size_t>(out.cols) * DTypeBytes(out.dtype);
  for (int64_t i = 0; i < out.rows; ++i) {
    const ContextSplit::Place place = context_.Find(rows[i]);
    std::memset(out.RowPtr(i), 0, row_bytes);
    if (place.rank == range_.share.pcp_rank) {
      std::memcpy(partial.RowPtr(i), hidden.RowPtr(place.row), row_bytes);
    } else {
      std::memset(partial.RowPtr(i), 0, row_bytes);
    }
  }
  RowSharing{comms_.pcp, false}.AddSum(kernels_, workspace_, partial, out);
}

void DecoderModel::Logits(ConstMat rows, Mat logits) {
  CHECK(range_.has_head);
  CHECK_LE(rows.rows, options_.max_logit_rows);
  if (rows.rows == 0 || range_.share.pcp_rank != 0) return;
  const Workspace::Scope scope(workspace_);
  const Mat normed = workspace_.Take(rows.rows, rows.cols, rows.dtype);
  Norm(rows, weights_.final_norm, normed);
  if (comms_.tp == nullptr) {
    kernels_.Linear(normed, *weights_.head, logits);
    return;
  }
  const Mat own = workspace_.Take(rows.rows, weights_.head->n(), DType::kF32);
  kernels_.Linear(normed, *weights_.head, own);
  GatherLogits(own, logits);
}

void DecoderModel::GatherLogits(const Mat& own, const Mat& logits) {
  Communicator& tp = *comms_.tp;
  const auto bytes_of = [](const Mat& mat) {
    return static_cast<size_t>(mat.rows * mat.cols) * sizeof(float);
  };
  if (tp.rank() != 0) {
    const SendPart send{0, own.data, bytes_of(own)};
    tp.Exchange({&send, 1}, {});
    return;
  }
  std::vector<Mat> parts = {own};
  std::vector<RecvPart> recvs;
  for (int peer = 1; peer < tp.size(); ++peer) {
    const int64_t first = RowCut(config_.vocab_size, tp.size(), peer);
    const int64_t cols = RowCut(config_.vocab_size, tp.size(), peer + 1) - first;
    parts.push_back(workspace_.Take(own.rows, cols, DType::kF32));
    recvs.push_back({peer, parts.back().data, bytes_of(parts.back())});
  }
  tp.Exchange({}, recvs);
  for (int64_t r = 0; r < own.rows; ++r) {
    float* to = logits.Row<float>(r);
    for (const Mat& part : parts) to = std::copy_n(part.Row<float>(r), part.cols, to);
  }
}

}  // namespace penstock
