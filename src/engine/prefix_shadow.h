// PrefixShadow: what a replica's prefix cache holds, as far as this can be told from the requests that were
// sent there: blocks of their prompts, the least recently used forgotten first, as many as the replica has.
//
// It is a guess in both directions: the replica also keeps what it generated, and evicts for it. A wrong one
// costs time and nothing else, and is set right by the next request that computes the blocks.
//
// Not thread-safe.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <list>
#include <span>
#include <unordered_map>

#include "sched/prefix_hash.h"

namespace penstock {

class PrefixShadow {
 public:
  explicit PrefixShadow(size_t max_blocks) : max_blocks_(max_blocks) {}

  // How many blocks of this chain are known, from its first.
  size_t NumKnown(std::span<const BlockHash> chain) const;
  // All of the chain is there now, the first block as the latest: a chain is forgotten from its end.
  void Touch(std::span<const BlockHash> chain);
  void Forget(std::span<const BlockHash> blocks);
  void Clear();
  size_t size() const { return at_.size(); }

 private:
  const size_t max_blocks_;
  std::list<BlockHash> by_use_;  // the latest in front
  std::unordered_map<BlockHash, std::list<BlockHash>::iterator, BlockHashHasher> at_;
};

}  // namespace penstock
