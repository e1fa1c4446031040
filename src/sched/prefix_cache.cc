// A sequence's blocks, by what the cache knows of them:
//
//   | findable …          | announced …              | not whole, or generated later … |
//   0        num_offered_blocks          num_announced_blocks
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/prefix_cache.h"

#include <algorithm>
#include <span>

#include "base/check.h"

namespace penstock {

const BlockHash& PrefixCache::HashOf(Sequence& seq, int32_t idx) const {
  CHECK_LE((idx + 1) * block_size_, seq.num_tokens());
  std::vector<BlockHash>& hashes = seq.block_hashes;
  while (static_cast<int32_t>(hashes.size()) <= idx) {
    const std::span<const TokenId> tokens(seq.tokens);
    const BlockHash parent = hashes.empty() ? hasher_.Root(seq.cache_salt) : hashes.back();
    hashes.push_back(hasher_.Next(parent, tokens.subspan(hashes.size() * block_size_, block_size_)));
  }
  return hashes[idx];
}

std::vector<BlockId> PrefixCache::Lookup(Sequence& seq) const {
  std::vector<BlockId> found;
  if (!Serves(seq)) return found;
  for (int32_t idx = 0; idx < NumReusableBlocks(seq); ++idx) {
    const std::optional<BlockId> block = pool_.Find(HashOf(seq, idx));
    if (!block) break;
    found.push_back(*block);
  }
  return found;
}

bool PrefixCache::ShouldDefer(Sequence& seq, int32_t num_cached_blocks) const {
  if (!Serves(seq)) return false;
  int32_t end = num_cached_blocks;
  while (end < NumReusableBlocks(seq) && announced_.contains(HashOf(seq, end))) ++end;
  const int32_t shared_tokens = (end - num_cached_blocks) * block_size_;
  const int32_t missing_tokens = seq.num_tokens() - num_cached_blocks * block_size_;
  if (shared_tokens == 0 || 2 * shared_tokens < missing_tokens) return false;
  seq.deferred_on = HashOf(seq, end - 1);
  return true;
}

void PrefixCache::Announce(Sequence& seq, int32_t num_cached_blocks) {
  seq.deferred_on.reset();
  seq.num_offered_blocks = seq.num_announced_blocks = num_cached_blocks;
  if (!enabled_) return;
  for (; seq.num_announced_blocks < seq.num_tokens() / block_size_; ++seq.num_announced_blocks) {
    ++announced_[HashOf(seq, seq.num_announced_blocks)];
  }
}

void PrefixCache::Offer(Sequence& seq) {
  if (!enabled_) return;
  for (; seq.num_offered_blocks < seq.num_computed / block_size_; ++seq.num_offered_blocks) {
    const int32_t idx = seq.num_offered_blocks;
    const BlockHash& hash = HashOf(seq, idx);
    pool_.MakeFindable(seq.blocks[idx], hash);
    if (idx < seq.num_announced_blocks) Unannounce(hash);
  }
  seq.num_announced_blocks = std::max(seq.num_announced_blocks, seq.num_offered_blocks);
}

void PrefixCache::Withdraw(Sequence& seq) {
  for (int32_t idx = seq.num_offered_blocks; idx < seq.num_announced_blocks; ++idx) {
    Unannounce(seq.block_hashes[idx]);
  }
  seq.num_offered_blocks = seq.num_announced_blocks = 0;
}

void PrefixCache::Unannounce(const BlockHash& hash) {
  const auto it = announced_.find(hash);
  CHECK(it != announced_.end());
  if (--it->second == 0) announced_.erase(it);
}

}  // namespace penstock
