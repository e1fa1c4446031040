// A step allocates nothing but what its result is made of, however many tokens it has. Counted by operator
// new of this program, on all threads.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "pipeline/testing/tiny_stage.h"

namespace {

std::atomic<int64_t> num_allocations{0};

void* CountedAlloc(std::size_t bytes) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  std::abort();
}

}  // namespace

void* operator new(std::size_t bytes) { return CountedAlloc(bytes); }
void* operator new[](std::size_t bytes) { return CountedAlloc(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace penstock {
namespace {

using testing::TinyStage;

constexpr int64_t kOfTheResult = 2;  // its stamps and its tokens

struct Case {
  std::string family;
  int num_threads;
};

class AllocationTest : public ::testing::TestWithParam<Case> {};

TEST_P(AllocationTest, StepsAllocateOnlyTheirResults) {
  TinyStage tiny(GetParam().family, GetParam().num_threads);
  const auto run = [&](int32_t pos, int32_t len) {
    StagePacket packet = tiny.MakePacket(pos, len);
    const int64_t before = num_allocations;
    tiny.stage().Execute(packet);
    return num_allocations - before;
  };
  for (const int32_t len : {128, 1, 20}) run(0, len);  // scratch memory grows to what the largest step needs
  run(128, 120);
  run(127, 1);
  EXPECT_EQ(run(0, 128), kOfTheResult);
  EXPECT_EQ(run(0, 7), kOfTheResult);
  EXPECT_EQ(run(128, 100), kOfTheResult);
  EXPECT_EQ(run(20, 1), kOfTheResult);
  EXPECT_EQ(run(200, 1), kOfTheResult);
}

INSTANTIATE_TEST_SUITE_P(Families, AllocationTest,
                         ::testing::Values(Case{"llama", 1}, Case{"qwen3", 1}, Case{"qwen3", 2},
                                           Case{"qwen3_moe", 1}, Case{"qwen3_moe", 2}, Case{"deepseek_v3", 1},
                                           Case{"deepseek_v3", 2}),
                         [](const auto& info) {
                           return info.param.family + "_" + std::to_string(info.param.num_threads);
                         });

}  // namespace
}  // namespace penstock
