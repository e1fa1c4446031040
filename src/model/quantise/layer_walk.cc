// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/layer_walk.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 64;

size_t Longest(const TokenTexts& texts) {
  size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  return longest;
}

ModelOptions OptionsOf(const WalkSetup& setup) {
  const auto longest = static_cast<int32_t>(Longest(setup.texts));
  return {.dtype = setup.dtype,
          .block_size = kBlockSize,
          .max_batched_tokens = longest,
          .max_model_len = longest,
          .max_logit_rows = WalkedLayer::kLogitRows};
}

}  // namespace

DType ComputeType(const ModelConfig& config) {
  return config.stored_dtype == DType::kF32 ? DType::kF32 : DType::kBF16;
}

HiddenStates::HiddenStates(const TokenTexts& texts, DType dtype, int64_t hidden_dim)
    : dtype_(dtype), hidden_dim_(hidden_dim), first_rows_(1) {
  for (const auto& text : texts) {
    CHECK(!text.empty());
    first_rows_.push_back(first_rows_.back() + static_cast<int64_t>(text.size()));
  }
  memory_ = Buffer(static_cast<size_t>(first_rows_.back() * hidden_dim) * DTypeBytes(dtype));
}

Mat HiddenStates::Text(size_t text_idx) const {
  const int64_t first = first_rows_.at(text_idx), rows = first_rows_.at(text_idx + 1) - first;
  const size_t offset = static_cast<size_t>(first * hidden_dim_) * DTypeBytes(dtype_);
  return Mat(memory_.as<std::byte>() + offset, dtype_, rows, hidden_dim_);
}

WalkedLayer::WalkedLayer(std::unique_ptr<Model> model, size_t longest)
    : model_(std::move(model)), block_ids_(CeilDiv<size_t>(longest, kBlockSize)), positions_(longest) {
  std::iota(block_ids_.begin(), block_ids_.end(), 0);
  std::iota(positions_.begin(), positions_.end(), 0);
  model_->AllocateKv(static_cast<int32_t>(block_ids_.size()));
}

Result<WalkedLayer> WalkedLayer::Load(const WalkSetup& setup, int32_t layer, Kernels& kernels,
                                      const MatrixListener& on_matrix) {
  const LayerRange range{layer, layer + 1, false, layer + 1 == setup.config.num_layers};
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model, LoadModel(setup.model_dir, setup.config, range,
                                                           OptionsOf(setup), kernels, {}, {}, on_matrix));
  return WalkedLayer(std::move(model), Longest(setup.texts));
}

Status EmbedTexts(const WalkSetup& setup, Kernels& kernels, const HiddenStates& hidden) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(setup.model_dir, setup.config, {0, 0, true, false}, OptionsOf(setup), kernels));
  std::vector<int32_t> positions(Longest(setup.texts));
  std::iota(positions.begin(), positions.end(), 0);
  for (size_t i = 0; i < setup.texts.size(); ++i) {
    const std::vector<int32_t>& ids = setup.texts[i];
    const SeqSpan span{0, static_cast<int32_t>(ids.size()), 0, nullptr};  // no layer looks at blocks
    model->Forward({ids, std::span(positions).first(ids.size()), std::span(&span, 1)}, hidden.Text(i));
  }
  return OkStatus();
}

void WalkedLayer::Run(std::span<const int32_t> token_ids, Mat hidden) {
  const SeqSpan span{0, static_cast<int32_t>(token_ids.size()), 0, block_ids_.data()};
  model_->Forward({token_ids, std::span(positions_).first(token_ids.size()), std::span(&span, 1)}, hidden);
}

}  // namespace penstock
