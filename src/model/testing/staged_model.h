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
#include "tensor/buffer.h"

namespace penstock::testing {

struct TestSequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> block_ids;
  int32_t num_computed = 0;
};

class StagedModel {
 public:
  static constexpr int32_t kNumBlocks = 64;

  StagedModel(const std::string& dir, const ModelConfig& config, int num_stages, const ModelOptions& options,
              Kernels& kernels, const PackedCache& cache = {}, const RankShare& share = {},
              const RankComms& comms = {})
      : options_(options), config_(config) {
    for (int s = 0; s < num_stages; ++s) {
      const LayerRange range{config.num_layers * s / num_stages, config.num_layers * (s + 1) / num_stages,
                             s == 0, s == num_stages - 1, share};
      stages_.push_back(LoadModel(dir, config, range, options, kernels, {}, cache, {}, comms).value());
      stages_.back()->AllocateKv(kNumBlocks);
    }
  }

  // A sequence of these tokens, with blocks of its own.
  TestSequence NewSequence(std::vector<int32_t> tokens) {
    TestSequence sequence{std::move(tokens), {}, 0};
    const int32_t count =
        (static_cast<int32_t>(sequence.tokens.size()) + options_.block_size - 1) / options_.block_size;
    for (int32_t i = 0; i < count; ++i) sequence.block_ids.push_back(NextBlock());
    return sequence;
  }

  // A token more; takes a block where needed.
  void Append(TestSequence& sequence, int32_t token) {
    if (sequence.tokens.size() % options_.block_size == 0) sequence.block_ids.push_back(NextBlock());
    sequence.tokens.push_back(token);
  }

  struct Chunk {
    TestSequence* sequence;
    int32_t len;
    int32_t position_shift = 0;  // an error, made on purpose
  };

  // Runs one step. Rows of logits, one per token, in the order of the chunks: [num_tokens][vocab_size].
  // `wanted_rows`: as ModelBatch's.
  std::vector<std::vector<float>> Run(const std::vector<Chunk>& chunks,
                                      std::optional<std::span<const int32_t>> wanted_rows = std::nullopt) {
    std::vector<int32_t> ids, positions;
    std::vector<SeqSpan> spans;
    for (const Chunk& chunk : chunks) {
      TestSequence& sequence = *chunk.sequence;
      spans.push_back(
          {static_cast<int32_t>(ids.size()), chunk.len, sequence.num_computed, sequence.block_ids.data()});
      for (int32_t i = 0; i < chunk.len; ++i) {
        ids.push_back(sequence.tokens.at(sequence.num_computed + i));
        positions.push_back(sequence.num_computed + i + chunk.position_shift);
      }
      sequence.num_computed += chunk.len;
    }
    const auto num_tokens = static_cast<int64_t>(ids.size());
    Buffer memory(num_tokens * config_.hidden_dim * DTypeBytes(options_.dtype));
    const Mat hidden(memory.data(), options_.dtype, num_tokens, config_.hidden_dim);
    for (const auto& stage : stages_) stage->Forward({ids, positions, spans, wanted_rows}, hidden);

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
  // 0, 27, 54, 17, …: every block once, no two neighbours in order.
  int32_t NextBlock() { return blocks_taken_++ * 27 % kNumBlocks; }

  const ModelOptions options_;
  const ModelConfig config_;
  std::vector<std::unique_ptr<Model>> stages_;
  int32_t blocks_taken_ = 0;
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
