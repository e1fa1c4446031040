// BlockPool: who holds which block of the KV cache, and which blocks' contents can be found again. Ids and
// counts only; the bytes are model/'s.
//
// A block is in one of three states:
//   held    one or more holders (sequences); may be findable as well
//   cached  no holder, findable: kept until the room is needed, least recently released first
//   free    no holder, not findable
//
// Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "plan/step.h"
#include "sched/prefix_hash.h"

namespace penstock {

class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);

  int32_t num_blocks() const { return static_cast<int32_t>(blocks_.size()) - 2; }
  int32_t num_held() const { return num_held_; }
  int32_t num_allocatable() const { return num_blocks() - num_held_; }  // free and cached
  int32_t num_findable() const { return static_cast<int32_t>(by_hash_.size()); }
  int32_t num_holders(BlockId block) const { return blocks_[Index(block)].num_holders; }

  // `count` free blocks, or the oldest cached ones where there are no free ones, each with one holder. Of
  // free ones the last that became free comes first: its memory is there already, and may still be in a
  // processor's cache. REQUIRES: count <= num_allocatable().
  std::vector<BlockId> Allocate(int32_t count);

  // One more holder of a held or cached block.
  void Hold(BlockId block);
  // One holder less; the last one leaves the block cached where it is findable, otherwise free. Release the
  // blocks of a sequence last one first: a block is of no use once one before it has gone.
  void Release(BlockId block);

  // From now on Find(hash) gives this held block, unless another one has that hash already. REQUIRES: the
  // block's contents are complete and will never be written again while it is findable.
  void MakeFindable(BlockId block, const BlockHash& hash);
  std::optional<BlockId> Find(const BlockHash& hash) const;

  // Forgets the contents of all cached blocks. Held ones stay findable.
  void DropCached();

 private:
  struct Block {
    int32_t num_holders = 0;
    std::optional<BlockHash> hash;  // set: findable
    int32_t prev = -1;              // neighbours in the list of free or of cached blocks
    int32_t next = -1;
  };

  size_t Index(BlockId block) const;
  void InsertBefore(int32_t next, BlockId block);
  void InsertFree(BlockId block);
  void Unlink(BlockId block);
  BlockId TakeFirst();
  void Forget(BlockId block);

  // The two entries after the blocks are the heads of circular lists: free blocks, the last released first,
  // and cached ones, oldest first.
  std::vector<Block> blocks_;
  const int32_t free_list_;
  const int32_t cached_list_;
  int32_t num_held_ = 0;
  std::unordered_map<BlockHash, BlockId, BlockHashHasher> by_hash_;
};

}  // namespace penstock
