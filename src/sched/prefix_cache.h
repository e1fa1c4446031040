// PrefixCache: which blocks of a new sequence have been computed already, for this or another sequence. Whole
// blocks only; a block can be found once the step that computed it has come back.
//
// It also knows what is being computed: a sequence most of whose prompt another one is computing right now
// does better to wait for it (n completions of one prompt, many questions on one document).
//
// Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sched/block_pool.h"
#include "sched/prefix_hash.h"
#include "sched/sequence.h"

namespace penstock {

class PrefixCache {
 public:
  PrefixCache(BlockPool& pool, const SipKey& key, int32_t block_size, bool enabled)
      : pool_(pool), hasher_(key), block_size_(block_size), enabled_(enabled) {}

  // May this sequence use cached blocks?
  bool Serves(const Sequence& seq) const { return enabled_ && !seq.wants_prompt_logprobs(); }

  // The longest cached prefix of a waiting sequence, without its last token, which must be computed for there
  // to be logits. Nobody holds the blocks for it yet.
  std::vector<BlockId> Lookup(Sequence& seq) const;

  // How many blocks Lookup() would find.
  int32_t NumCachedBlocks(Sequence& seq) const { return static_cast<int32_t>(Lookup(seq).size()); }

  // Is at least half of what a waiting sequence would have to compute, after its `num_cached_blocks`,
  // announced by running ones?
  bool ShouldDefer(Sequence& seq, int32_t num_cached_blocks) const;
  // Was so when last asked, and what the sequence waits for is still being computed: a quick test.
  bool IsDeferred(const Sequence& seq) const {
    return seq.deferred_on && announced_.contains(*seq.deferred_on);
  }

  // The sequence has begun to run, with `num_cached_blocks` from Lookup() in front, and will compute the
  // rest.
  void Announce(Sequence& seq, int32_t num_cached_blocks);
  // seq.num_computed has grown: the blocks that it completes can be found.
  void Offer(Sequence& seq);
  // The sequence runs no more. Steps in flight may still complete blocks, which can be offered.
  void Withdraw(Sequence& seq);

 private:
  // Of block `idx`, all of whose tokens are known.
  const BlockHash& HashOf(Sequence& seq, int32_t idx) const;
  int32_t NumReusableBlocks(const Sequence& seq) const { return (seq.num_tokens() - 1) / block_size_; }
  void Unannounce(const BlockHash& hash);

  BlockPool& pool_;
  const PrefixHasher hasher_;
  const int32_t block_size_;
  const bool enabled_;
  std::unordered_map<BlockHash, int32_t, BlockHashHasher> announced_;  // by how many sequences
};

}  // namespace penstock
