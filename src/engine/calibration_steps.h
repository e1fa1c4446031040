// CalibrationSteps: makes the steps that a pipeline is measured with before it serves.
//
// Chunks have random token ids and real blocks of the empty pool. What stands for a history has been computed
// and written by earlier steps; where a history is longer than all that, its blocks repeat, which costs the
// same to read.
//
//   blocks  [ histories: written once, in order | where chunks with a history write | one per decode token ]
//
// Pure: no clock. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "plan/step.h"
#include "plan/step_work.h"

namespace penstock {

struct CalibrationLimits {
  int32_t max_chunk = 0;  // tokens of the largest step
  int32_t max_len = 0;    // tokens of the longest sequence
  int32_t max_num_seqs = 1;
  int32_t num_blocks = 0;  // all of them free
  int32_t block_size = 0;
  int32_t vocab_size = 0;
};

// `num` equal chunks in one step. Several are decode tokens.
struct CalibrationShape {
  ChunkShape chunk;
  int32_t num = 1;

  StepWork Work() const;
  bool operator==(const CalibrationShape&) const = default;
};

class CalibrationSteps {
 public:
  CalibrationSteps(const CalibrationLimits& limits, uint64_t seed);

  // 0 where there are too few blocks for any step.
  int32_t max_chunk() const { return max_chunk_; }
  // The longest history of a chunk of `len` tokens: whole blocks.
  int32_t MaxHistory(int32_t len) const;
  // The most decode tokens of a step.
  int32_t max_decodes() const { return num_decode_blocks_; }

  // REQUIRES: the shape is within the limits; its history is of whole blocks.
  std::unique_ptr<Step> Make(const CalibrationShape& shape);
  // The oldest step that is not back yet has come back.
  void OnResult();

 private:
  Chunk MakeChunk(const ChunkShape& shape, SeqId seq, BlockId history_block, BlockId write_block);

  const CalibrationLimits limits_;
  int32_t max_chunk_ = 0;
  int32_t num_history_blocks_ = 0;
  int32_t num_chunk_blocks_ = 0;
  int32_t num_decode_blocks_ = 0;
  int32_t num_filled_ = 0;      // history blocks that steps have been made to fill
  int32_t num_written_ = 0;     // of these: whose steps are back
  std::deque<int32_t> filled_;  // num_filled_ after each step in flight
  uint64_t next_step_id_ = 1;
  std::mt19937_64 random_;
};

}  // namespace penstock
