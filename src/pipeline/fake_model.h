// FakeModel: a model for tests, whose every hidden state and logit can be predicted.
//
// It keeps the token ids of each block, as a real one keeps keys and values, and a row's hidden state is a
// hash of the tokens that the block table leads to: [0, pos]. A later stage checks what it is handed against
// its own blocks. So a wrong block, position, row or order changes the sampled token, or is reported in
// errors().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "model/model.h"
#include "plan/sampling_params.h"

namespace penstock {

class FakeModel : public Model {
 public:
  static constexpr int32_t kVocabSize = 97;
  static constexpr int32_t kHiddenDim = 2;

  FakeModel(const LayerRange& range, int32_t block_size) : range_(range), block_size_(block_size) {
    config_.vocab_size = kVocabSize;
    config_.hidden_dim = kHiddenDim;
  }

  // The token that follows `history`.
  static TokenId NextToken(std::span<const TokenId> history) {
    return static_cast<TokenId>(Hash(history) % kVocabSize);
  }

  const ModelConfig& config() const override { return config_; }
  const LayerRange& range() const override { return range_; }
  ModelMemory memory() const override { return {}; }
  void AllocateKv(int32_t) override {}

  void Forward(const ModelBatch& batch, Mat hidden) override {
    if (on_forward) on_forward(batch);
    for (const SeqSpan& span : batch.spans) {
      for (int32_t i = 0; i < span.len; ++i) {
        const int32_t pos = span.pos + i;
        blocks_[span.block_ids[pos / block_size_]][pos % block_size_] = batch.token_ids[span.row + i];
        std::vector<TokenId> history;
        for (int32_t p = 0; p <= pos; ++p)
          history.push_back(blocks_[span.block_ids[p / block_size_]][p % block_size_]);
        const float expected = static_cast<float>(Hash(history));
        float* row = hidden.Row<float>(span.row + i);
        if (!range_.has_embedding && row[0] != expected) AddError("position " + std::to_string(pos));
        row[0] = expected;
        if (batch.wanted_rows && std::ranges::count(*batch.wanted_rows, span.row + i) == 0) row[0] = -1;
      }
    }
  }

  void Logits(ConstMat rows, Mat logits) override {
    if (on_logits) on_logits(rows.rows);
    for (int64_t i = 0; i < rows.rows; ++i) {
      for (int32_t id = 0; id < kVocabSize; ++id) logits.Row<float>(i)[id] = 0;
      logits.Row<float>(i)[static_cast<int64_t>(rows.Row<float>(i)[0]) % kVocabSize] = 10;
    }
  }

  // All on the rank's thread.
  std::function<void(const ModelBatch&)> on_forward;  // before each Forward
  std::function<void(int64_t num_rows)> on_logits;
  std::function<void()> on_error;
  std::vector<std::string> errors;

 private:
  void AddError(std::string error) {
    errors.push_back(std::move(error));
    if (on_error) on_error();
  }

  // Fits a float exactly.
  static uint32_t Hash(std::span<const TokenId> history) {
    uint32_t hash = 17;
    for (TokenId id : history) hash = (hash * 31 + static_cast<uint32_t>(id) + 7) % 999983;
    return hash;
  }

  const LayerRange range_;
  const int32_t block_size_;
  ModelConfig config_;
  std::map<int32_t, std::map<int32_t, TokenId>> blocks_;
};

}  // namespace penstock
