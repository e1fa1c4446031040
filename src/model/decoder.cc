// The residual stream is `hidden` itself: each half of a layer norms it into the workspace and adds its share
// to it.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "model/rope_table.h"

namespace penstock {
namespace {

constexpr int64_t kMinRunRows = 16;  // reading the weights takes as long as computing so many rows
constexpr size_t kKernelBaseBytes = size_t{64} << 20;  // scratch of the kernels' threads

// The largest layer's, with the normed hidden states beside it; or those of the rows of Logits().
size_t WorkspaceBytes(const ModelConfig& config, const ModelOptions& options,
                      const std::vector<DecoderLayer>& layers) {
  size_t largest = 0;
  for (const DecoderLayer& layer : layers) {
    largest = std::max({largest, layer.attention->WorkspaceBytes(options.max_batched_tokens, options.dtype),
                        layer.mlp->WorkspaceBytes(options.max_batched_tokens, options.dtype)});
  }
  const size_t in_layers =
      largest + Workspace::BytesFor(options.max_batched_tokens, config.hidden_dim, options.dtype);
  return std::max(in_layers, Workspace::BytesFor(options.max_logit_rows, config.hidden_dim, options.dtype));
}

size_t KernelScratchBytes(const ModelOptions& options, const std::vector<DecoderLayer>& layers) {
  size_t largest = 0;
  for (const DecoderLayer& layer : layers) {
    largest = std::max({largest, layer.attention->KernelScratchBytes(options.max_batched_tokens),
                        layer.mlp->KernelScratchBytes(options.max_batched_tokens)});
  }
  return largest + kKernelBaseBytes;
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

ModelMemory MeasureMemory(const ModelConfig& config, const ModelOptions& options,
                          const DecoderWeights& weights, const Kernels& kernels) {
  ModelMemory memory;
  memory.weight_bytes = weights.bytes + RopeTableBytes(RotatedDim(config), options.max_model_len);
  for (const DecoderLayer& layer : weights.layers) {
    memory.kv_block_bytes += layer.attention->KvBlockBytes(kernels, options.block_size, options.KvDType());
  }
  memory.activation_bytes =
      WorkspaceBytes(config, options, weights.layers) + KernelScratchBytes(options, weights.layers);
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
      memory_(MeasureMemory(config_, options_, weights_, kernels_)),
      rope_(MakeRopeTable(config_.rope, RotatedDim(config_), options_.max_model_len)),
      workspace_(WorkspaceBytes(config_, options_, weights_.layers)) {}

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
  kernels_.RmsNorm(x, norm.weight.data(), config_.rms_norm_eps, y, DataOrNull(norm.bias));
}

void DecoderModel::Forward(const ModelBatch& batch, Mat hidden) {
  CheckBatch(batch, hidden);
  if (hidden.rows == 0) return;
  if (range_.has_embedding) kernels_.Embed(batch.token_ids, weights_.embedding.rows, hidden);

  const Workspace::Scope scope(workspace_);
  const Mat normed = workspace_.Take(hidden.rows, hidden.cols, hidden.dtype);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const DecoderLayer& layer = weights_.layers[i];
    const bool last = range_.has_head && i + 1 == weights_.layers.size();
    const LayerStep step{kernels_,
                         workspace_,
                         rope_,
                         batch.positions,
                         batch.spans,
                         kv_.Layer(i),
                         last ? WantedSpans(batch) : batch.spans};
    Norm(hidden, layer.attention_norm, normed);
    layer.attention->Forward(step, normed, hidden);
    ForRowRuns(step.query_spans, [&](int64_t begin, int64_t count) {
      const Mat rows = hidden.Rows(begin, count), normed_rows = normed.Rows(begin, count);
      Norm(rows, layer.mlp_norm, normed_rows);
      layer.mlp->Forward(step, normed_rows, rows);
    });
  }
}

// Of the last layer, all rows leave keys and values, but few anything else that is read. Each run of rows
// reads the weights anew, so that many short ones are no gain.
std::span<const SeqSpan> DecoderModel::WantedSpans(const ModelBatch& batch) {
  if (!batch.wanted_rows) return batch.spans;
  wanted_spans_.clear();
  auto span = batch.spans.begin();
  for (const int32_t row : *batch.wanted_rows) {
    CHECK(row >= 0 && row < static_cast<int64_t>(batch.token_ids.size())) << row;
    while (row >= span->row + span->len) ++span;
    if (!wanted_spans_.empty() && wanted_spans_.back().block_ids == span->block_ids) {
      SeqSpan& last = wanted_spans_.back();
      if (row < last.row + last.len) continue;  // wanted twice
      if (row == last.row + last.len) {
        ++last.len;
        continue;
      }
    }
    wanted_spans_.push_back({row, 1, span->pos + row - span->row, span->block_ids});
  }
  int64_t cost_rows = 0;
  ForRowRuns(wanted_spans_, [&](int64_t, int64_t count) { cost_rows += std::max(count, kMinRunRows); });
  const auto num_tokens = static_cast<int64_t>(batch.token_ids.size());
  return cost_rows < num_tokens ? std::span<const SeqSpan>(wanted_spans_) : batch.spans;
}

void DecoderModel::Logits(ConstMat rows, Mat logits) {
  CHECK(range_.has_head);
  CHECK_LE(rows.rows, options_.max_logit_rows);
  if (rows.rows == 0) return;
  const Workspace::Scope scope(workspace_);
  const Mat normed = workspace_.Take(rows.rows, rows.cols, rows.dtype);
  Norm(rows, weights_.final_norm, normed);
  kernels_.Linear(normed, *weights_.head, logits);
}

}  // namespace penstock
