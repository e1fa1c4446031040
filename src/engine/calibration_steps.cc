// SPDX-License-Identifier: Apache-2.0
#include "engine/calibration_steps.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr SeqId kPromptSeq = 1;
constexpr SeqId kFirstDecodeSeq = 2;
constexpr int32_t kMostDecodes = 16;
constexpr int32_t kFewestBlocks = 4;

}  // namespace

StepWork CalibrationShape::Work() const {
  StepWork work;
  for (int32_t i = 0; i < num; ++i) work.Add(chunk);
  return work;
}

CalibrationSteps::CalibrationSteps(const CalibrationLimits& limits, uint64_t seed)
    : limits_(limits), random_(seed) {
  const int32_t num_blocks = limits.num_blocks;
  if (num_blocks < kFewestBlocks) return;
  num_decode_blocks_ = std::min({limits.max_num_seqs, kMostDecodes, num_blocks / 4, limits.max_chunk});
  // A quarter of the blocks at most, so that most are left to be a history.
  const int32_t wanted_chunk = std::min(limits.max_chunk, limits.max_len);
  num_chunk_blocks_ = std::min(CeilDiv(wanted_chunk, limits.block_size), num_blocks / 4);
  max_chunk_ = std::min(wanted_chunk, num_chunk_blocks_ * limits.block_size);
  num_history_blocks_ = num_blocks - num_chunk_blocks_ - num_decode_blocks_;
}

int32_t CalibrationSteps::MaxHistory(int32_t len) const {
  return std::max(limits_.max_len - len, 0) / limits_.block_size * limits_.block_size;
}

std::unique_ptr<Step> CalibrationSteps::Make(const CalibrationShape& shape) {
  const ChunkShape& chunk = shape.chunk;
  CHECK_LE(chunk.pos + chunk.len, limits_.max_len);
  auto step = std::make_unique<Step>();
  step->step_id = next_step_id_++;
  if (chunk.is_decode) {
    CHECK_LE(shape.num, num_decode_blocks_);
    const BlockId first_block = num_history_blocks_ + num_chunk_blocks_;
    for (int32_t i = 0; i < shape.num; ++i) {
      const auto seq = kFirstDecodeSeq + static_cast<SeqId>(i);
      step->chunks.push_back(MakeChunk(chunk, seq, i * (chunk.pos / limits_.block_size), first_block + i));
    }
  } else {
    CHECK_EQ(shape.num, 1);
    CHECK_LE(chunk.len, max_chunk_);
    // The first chunks without a history become one, as far as their blocks are full.
    const int32_t num_blocks = CeilDiv(chunk.len, limits_.block_size);
    const bool fills = chunk.pos == 0 && num_filled_ + num_blocks <= num_history_blocks_;
    step->chunks.push_back(MakeChunk(chunk, kPromptSeq, 0, fills ? num_filled_ : num_history_blocks_));
    if (fills) num_filled_ += chunk.len / limits_.block_size;
  }
  filled_.push_back(num_filled_);
  return step;
}

Chunk CalibrationSteps::MakeChunk(const ChunkShape& shape, SeqId seq, BlockId history_block,
                                  BlockId write_block) {
  CHECK_EQ(shape.pos % limits_.block_size, 0);
  Chunk chunk;
  chunk.seq = seq;
  chunk.pos = shape.pos;
  chunk.len = shape.len;
  chunk.is_decode = shape.is_decode;
  std::uniform_int_distribution<TokenId> draw(0, limits_.vocab_size - 1);
  for (int32_t i = 0; i < shape.len; ++i) chunk.token_ids.push_back(draw(random_));
  for (int32_t i = 0; i < shape.pos / limits_.block_size; ++i) {
    chunk.block_ids.push_back((history_block + i) % std::max(num_written_, 1));
  }
  const int32_t num_new = CeilDiv(shape.len, limits_.block_size);
  for (int32_t i = 0; i < num_new; ++i) chunk.block_ids.push_back(write_block + i);
  if (shape.is_decode) {
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
  }
  return chunk;
}

void CalibrationSteps::OnResult() {
  CHECK(!filled_.empty());
  num_written_ = filled_.front();
  filled_.pop_front();
}

}  // namespace penstock
