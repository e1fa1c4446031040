// SimKv: a KV cache that holds token ids in place of keys and values. Attention to a block that has been
// mixed up, lost, or reused too early reads other tokens than the sequence has.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/step.h"

namespace penstock {

class SimKv {
 public:
  SimKv(int32_t num_blocks, int32_t block_size)
      : block_size_(block_size), slots_(static_cast<size_t>(num_blocks) * block_size, kNothing) {}

  // Stores the chunk's tokens; or, where its step failed or it was skipped, what nobody must ever read.
  void Write(const Chunk& chunk);
  void Spoil(const Chunk& chunk);

  // The tokens at positions [0, len) of the blocks that the chunk names.
  std::vector<TokenId> Read(const Chunk& chunk, int32_t len) const;

 private:
  static constexpr TokenId kNothing = -1;
  static constexpr TokenId kSpoilt = -2;

  size_t SlotOf(const Chunk& chunk, int32_t pos) const;

  int32_t block_size_;
  std::vector<TokenId> slots_;
};

}  // namespace penstock
