// Free and cached blocks are in two circular doubly linked lists that run through the array of blocks itself,
// so that every operation on a block costs constant time and no memory.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/block_pool.h"

#include "base/check.h"

namespace penstock {

BlockPool::BlockPool(int32_t num_blocks)
    : blocks_(static_cast<size_t>(num_blocks) + 2), free_list_(num_blocks), cached_list_(num_blocks + 1) {
  CHECK_GE(num_blocks, 0);
  for (int32_t list : {free_list_, cached_list_}) blocks_[list].prev = blocks_[list].next = list;
  for (BlockId block = 0; block < num_blocks; ++block) InsertBefore(free_list_, block);
}

size_t BlockPool::Index(BlockId block) const {
  CHECK(block >= 0 && block < num_blocks()) << "block " << block;
  return static_cast<size_t>(block);
}

void BlockPool::InsertBefore(int32_t next, BlockId block) {
  const int32_t prev = blocks_[next].prev;
  blocks_[block].prev = prev;
  blocks_[block].next = next;
  blocks_[prev].next = block;
  blocks_[next].prev = block;
}

void BlockPool::InsertFree(BlockId block) { InsertBefore(blocks_[free_list_].next, block); }

void BlockPool::Unlink(BlockId block) {
  Block& entry = blocks_[block];
  CHECK_GE(entry.next, 0);
  blocks_[entry.prev].next = entry.next;
  blocks_[entry.next].prev = entry.prev;
  entry.prev = entry.next = -1;
}

void BlockPool::Forget(BlockId block) {
  by_hash_.erase(*blocks_[block].hash);
  blocks_[block].hash.reset();
}

BlockId BlockPool::TakeFirst() {
  const bool any_free = blocks_[free_list_].next != free_list_;
  const BlockId block = blocks_[any_free ? free_list_ : cached_list_].next;
  Unlink(block);
  if (!any_free) Forget(block);
  return block;
}

std::vector<BlockId> BlockPool::Allocate(int32_t count) {
  CHECK_LE(count, num_allocatable());
  std::vector<BlockId> allocated(count);
  for (BlockId& block : allocated) {
    block = TakeFirst();
    blocks_[block].num_holders = 1;
  }
  num_held_ += count;
  return allocated;
}

void BlockPool::Hold(BlockId block) {
  Block& entry = blocks_[Index(block)];
  if (entry.num_holders == 0) {
    CHECK(entry.hash.has_value()) << "block " << block << " is free";
    Unlink(block);
    ++num_held_;
  }
  ++entry.num_holders;
}

void BlockPool::Release(BlockId block) {
  Block& entry = blocks_[Index(block)];
  CHECK_GT(entry.num_holders, 0) << "block " << block;
  if (--entry.num_holders > 0) return;
  --num_held_;
  if (entry.hash)
    InsertBefore(cached_list_, block);
  else
    InsertFree(block);
}

void BlockPool::MakeFindable(BlockId block, const BlockHash& hash) {
  Block& entry = blocks_[Index(block)];
  CHECK_GT(entry.num_holders, 0) << "block " << block;
  if (entry.hash) return;
  if (by_hash_.try_emplace(hash, block).second) entry.hash = hash;
}

std::optional<BlockId> BlockPool::Find(const BlockHash& hash) const {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return std::nullopt;
  return it->second;
}

void BlockPool::DropCached() {
  while (blocks_[cached_list_].next != cached_list_) {
    const BlockId block = blocks_[cached_list_].next;
    Unlink(block);
    Forget(block);
    InsertFree(block);
  }
}

}  // namespace penstock
