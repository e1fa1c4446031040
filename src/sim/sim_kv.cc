// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_kv.h"

#include "base/check.h"

namespace penstock {

size_t SimKv::SlotOf(const Chunk& chunk, int32_t pos) const {
  const size_t block = chunk.block_ids.at(pos / block_size_);
  const size_t slot = block * block_size_ + pos % block_size_;
  CHECK_LT(slot, slots_.size());
  return slot;
}

void SimKv::Write(const Chunk& chunk) {
  for (int32_t i = 0; i < chunk.len; ++i) slots_[SlotOf(chunk, chunk.pos + i)] = chunk.token_ids[i];
}

void SimKv::Spoil(const Chunk& chunk) {
  for (int32_t i = 0; i < chunk.len; ++i) slots_[SlotOf(chunk, chunk.pos + i)] = kSpoilt;
}

std::vector<TokenId> SimKv::Read(const Chunk& chunk, int32_t len) const {
  std::vector<TokenId> tokens(len);
  for (int32_t pos = 0; pos < len; ++pos) tokens[pos] = slots_[SlotOf(chunk, pos)];
  return tokens;
}

}  // namespace penstock
