// For tests: sequences whose blocks lie in a scattered order, and steps of them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/kernels.h"

namespace penstock::testing {

struct TestSequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> block_ids;
  int32_t num_computed = 0;
};

struct TestChunk {
  TestSequence* sequence;
  int32_t len;
  int32_t position_shift = 0;  // an error, made on purpose
};

// What a ModelBatch points to.
struct TestStep {
  std::vector<int32_t> ids, positions;
  std::vector<SeqSpan> spans;

  // The next tokens of the chunks' sequences, which then count as computed.
  explicit TestStep(const std::vector<TestChunk>& chunks) {
    for (const TestChunk& chunk : chunks) {
      TestSequence& sequence = *chunk.sequence;
      spans.push_back(
          {static_cast<int32_t>(ids.size()), chunk.len, sequence.num_computed, sequence.block_ids.data()});
      for (int32_t i = 0; i < chunk.len; ++i) {
        ids.push_back(sequence.tokens.at(sequence.num_computed + i));
        positions.push_back(sequence.num_computed + i + chunk.position_shift);
      }
      sequence.num_computed += chunk.len;
    }
  }
};

class TestSequences {
 public:
  static constexpr int32_t kNumBlocks = 64;

  explicit TestSequences(int32_t block_size) : block_size_(block_size) {}

  // A sequence of these tokens, with blocks of its own.
  TestSequence New(std::vector<int32_t> tokens) {
    TestSequence sequence{std::move(tokens), {}, 0};
    const int32_t count = (static_cast<int32_t>(sequence.tokens.size()) + block_size_ - 1) / block_size_;
    for (int32_t i = 0; i < count; ++i) sequence.block_ids.push_back(NextBlock());
    return sequence;
  }

  // A token more; takes a block where needed.
  void Append(TestSequence& sequence, int32_t token) {
    if (sequence.tokens.size() % block_size_ == 0) sequence.block_ids.push_back(NextBlock());
    sequence.tokens.push_back(token);
  }

 private:
  // 0, 27, 54, 17, …: every block once, no two neighbours in order.
  int32_t NextBlock() { return blocks_taken_++ * 27 % kNumBlocks; }

  const int32_t block_size_;
  int32_t blocks_taken_ = 0;
};

}  // namespace penstock::testing
