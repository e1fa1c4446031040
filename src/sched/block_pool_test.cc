// BlockPool against a model of it that is slow and obvious, over random operations.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace penstock {
namespace {

BlockHash HashOf(uint64_t value) { return {{value, ~value}}; }

// Holders by block; findable hashes; cached blocks in the order in which they were released.
struct NaivePool {
  std::map<BlockId, int> holders;
  std::map<uint64_t, BlockId> findable;
  std::vector<BlockId> cached;
  int32_t num_blocks;

  explicit NaivePool(int32_t num_blocks) : num_blocks(num_blocks) {}
  bool IsFindable(BlockId block) const {
    return std::any_of(findable.begin(), findable.end(), [&](const auto& e) { return e.second == block; });
  }
  int32_t num_held() const { return static_cast<int32_t>(holders.size()); }
  int32_t num_free() const { return num_blocks - num_held() - static_cast<int32_t>(cached.size()); }

  void Allocated(BlockId block) {
    ASSERT_FALSE(holders.contains(block)) << "a held block was given out";
    if (num_free() == 0) {
      ASSERT_FALSE(cached.empty());
      ASSERT_EQ(block, cached.front()) << "not the least recently released";
      std::erase_if(findable, [&](const auto& e) { return e.second == block; });
      cached.erase(cached.begin());
    } else {
      ASSERT_FALSE(IsFindable(block)) << "a cached block was taken while others were free";
    }
    holders[block] = 1;
  }
  void Hold(BlockId block) {
    std::erase(cached, block);
    ++holders[block];
  }
  void Release(BlockId block) {
    if (--holders[block] > 0) return;
    holders.erase(block);
    if (IsFindable(block)) cached.push_back(block);
  }
};

class BlockPoolProperty : public testing::TestWithParam<int> {};

TEST_P(BlockPoolProperty, AgreesWithNaiveModel) {
  std::mt19937 random(GetParam());
  auto draw = [&](int n) { return static_cast<int>(random() % n); };
  const int32_t num_blocks = 1 + draw(12);
  BlockPool pool(num_blocks);
  NaivePool naive(num_blocks);
  auto random_held = [&] { return std::next(naive.holders.begin(), draw(naive.num_held()))->first; };

  for (int op = 0; op < 2000; ++op) {
    switch (draw(6)) {
      case 0: {
        const int count = draw(pool.num_allocatable() + 1);
        for (BlockId block : pool.Allocate(count)) naive.Allocated(block);
        break;
      }
      case 1:
      case 2:
        if (naive.num_held() > 0) {
          const BlockId block = random_held();
          pool.Release(block);
          naive.Release(block);
        }
        break;
      case 3:
        if (naive.num_held() > 0) {
          const BlockId block = random_held();
          const uint64_t value = draw(2 * num_blocks);
          const bool taken = naive.findable.contains(value) || naive.IsFindable(block);
          pool.MakeFindable(block, HashOf(value));
          if (!taken) naive.findable[value] = block;
        }
        break;
      case 4: {
        const uint64_t value = draw(2 * num_blocks);
        const std::optional<BlockId> found = pool.Find(HashOf(value));
        ASSERT_EQ(found.has_value(), naive.findable.contains(value));
        if (!found) break;
        ASSERT_EQ(*found, naive.findable[value]);
        pool.Hold(*found);
        naive.Hold(*found);
        break;
      }
      case 5:
        if (draw(20) > 0) break;
        pool.DropCached();
        std::erase_if(naive.findable, [&](const auto& e) { return !naive.holders.contains(e.second); });
        naive.cached.clear();
        break;
    }
    if (HasFatalFailure()) return;
    ASSERT_EQ(pool.num_held(), naive.num_held());
    ASSERT_EQ(pool.num_allocatable(), num_blocks - naive.num_held());
    ASSERT_EQ(pool.num_findable(), static_cast<int32_t>(naive.findable.size()));
    for (const auto& [block, count] : naive.holders) ASSERT_EQ(pool.num_holders(block), count);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BlockPoolProperty, testing::Range(0, 50));

// Blocks that were never used would have to be paged in.
TEST(BlockPool, TakesWhatBecameFreeLast) {
  BlockPool pool(8);
  const std::vector<BlockId> first = pool.Allocate(3);
  EXPECT_EQ(first, (std::vector<BlockId>{0, 1, 2}));
  for (size_t i = first.size(); i-- > 0;) pool.Release(first[i]);
  EXPECT_EQ(pool.Allocate(4), (std::vector<BlockId>{0, 1, 2, 3}));
}

TEST(BlockPoolDeathTest, DoubleReleaseIsCaught) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate(1)[0];
  pool.Release(block);
  EXPECT_DEATH(pool.Release(block), "num_holders");
  EXPECT_DEATH(pool.Hold(block), "is free");
  EXPECT_DEATH(pool.Allocate(3), "num_allocatable");
}

TEST(PrefixHasher, DependsOnEverythingBefore) {
  const PrefixHasher hasher({1, 2});
  const std::vector<TokenId> a = {1, 2, 3, 4}, b = {1, 2, 3, 5};
  const BlockHash root = hasher.Root("");
  EXPECT_EQ(hasher.Next(root, a), hasher.Next(root, a));
  EXPECT_NE(hasher.Next(root, a), hasher.Next(root, b));
  EXPECT_NE(hasher.Next(root, a), hasher.Next(hasher.Root("salt"), a));
  EXPECT_NE(hasher.Next(root, a), hasher.Next(hasher.Next(root, a), a));
  EXPECT_NE(hasher.Next(root, a), PrefixHasher({1, 3}).Next(PrefixHasher({1, 3}).Root(""), a));
  EXPECT_NE(RandomSipKey(), RandomSipKey());
}

}  // namespace
}  // namespace penstock
