// For tests: a model cut into stages that are run in turn, the hidden states handed over by copying, and
// sequences whose blocks lie in a scattered order.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/testing/test_sequences.h"
#include "tensor/buffer.h"

namespace penstock::testing {

class StagedModel {
 public:
  static constexpr int32_t kNumBlocks = TestSequences::kNumBlocks;

  StagedModel(const std::string& dir, const ModelConfig& config, int num_stages, const ModelOptions& options,
              Kernels& kernels, const PackedCache& cache = {}, const RankShare& share = {},
              const RankComms& comms = {})
      : options_(options), config_(config), sequences_(options.block_size) {
    for (int s = 0; s < num_stages; ++s) {
      const LayerRange range{config.num_layers * s / num_stages, config.num_layers * (s + 1) / num_stages,
                             s == 0, s == num_stages - 1, share};
      stages_.push_back(LoadModel(dir, config, range, options, kernels, {}, cache, {}, comms).value());
      stages_.back()->AllocateKv(kNumBlocks);
    }
  }

  // As TestSequences.
  TestSequence NewSequence(std::vector<int32_t> tokens) { return sequences_.New(std::move(tokens)); }
  void Append(TestSequence& sequence, int32_t token) { sequences_.Append(sequence, token); }

  using Chunk = TestChunk;

  // Runs one step. Rows of logits, one per token, in the order of the chunks: [num_tokens][vocab_size].
  // `wanted_rows`: as ModelBatch's.
  std::vector<std::vector<float>> Run(const std::vector<Chunk>& chunks,
                                      std::optional<std::span<const int32_t>> wanted_rows = std::nullopt) {
    const TestStep step(chunks);
    const auto num_tokens = static_cast<int64_t>(step.ids.size());
    Buffer memory(num_tokens * config_.hidden_dim * DTypeBytes(options_.dtype));
    const Mat hidden(memory.data(), options_.dtype, num_tokens, config_.hidden_dim);
    for (const auto& stage : stages_)
      stage->Forward({step.ids, step.positions, step.spans, wanted_rows}, hidden);

    std::vector<float> logits(num_tokens * config_.vocab_size);
    stages_.back()->Logits(hidden, Mat(logits.data(), DType::kF32, num_tokens, config_.vocab_size));
    std::vector<std::vector<float>> rows;
    for (int64_t r = 0; r < num_tokens; ++r) {
      rows.emplace_back(logits.begin() + r * config_.vocab_size,
                        logits.begin() + (r + 1) * config_.vocab_size);
    }
    return rows;
  }

  // The whole sequence in chunks of these lengths.
  std::vector<std::vector<float>> RunChunks(TestSequence& sequence, const std::vector<int32_t>& lens) {
    std::vector<std::vector<float>> rows;
    for (const int32_t len : lens) {
      for (auto& row : Run({{&sequence, len}})) rows.push_back(std::move(row));
    }
    return rows;
  }

  Model& stage(size_t i) { return *stages_[i]; }

 private:
  const ModelOptions options_;
  const ModelConfig config_;
  std::vector<std::unique_ptr<Model>> stages_;
  TestSequences sequences_;
};

inline float MaxDifference(const std::vector<std::vector<float>>& a,
                           const std::vector<std::vector<float>>& b) {
  CHECK_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t r = 0; r < a.size(); ++r) {
    CHECK_EQ(a[r].size(), b[r].size());
    for (size_t i = 0; i < a[r].size(); ++i) {
      const float difference = std::fabs(a[r][i] - b[r][i]);
      if (std::isnan(difference)) return std::numeric_limits<float>::infinity();
      largest = std::max(largest, difference);
    }
  }
  return largest;
}

inline int32_t Argmax(const std::vector<float>& row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace penstock::testing
