// SPDX-License-Identifier: Apache-2.0
#include "comm/peer_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "comm/mpi/test_world.h"

namespace penstock {
namespace {

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// Generous against a busy machine: nothing here may depend on how quick it is.
constexpr HeartbeatConfig kConfig{.period_us = 20'000, .limit_us = 600'000, .tick_us = 20'000};

std::unique_ptr<MessageEndpoint> MakeEndpoint() {
  return TestWorld().MakeEndpoint([](int, int, const Status& status) { ADD_FAILURE() << status.message(); });
}

TEST(PeerWatchTest, WhoLeavesIsNotLost) {
  const auto endpoint = MakeEndpoint();
  std::atomic<int> lost{0};
  {
    PeerWatch watch(*endpoint, TestWorld().rank(), TestWorld().size(), kConfig,
                    [&](int, const std::string&) { ++lost; });
    if (TestWorld().rank() != 2) SleepMs(800);
  }
  EXPECT_EQ(lost, 0);
  EXPECT_TRUE(TestWorld().Share(OkStatus()).ok());
}

TEST(PeerWatchTest, ASilentRankIsNamed) {
  const auto endpoint = MakeEndpoint();
  const int rank = TestWorld().rank();
  std::atomic<int> calls{0}, lost{-2};
  std::unique_ptr<PeerWatch> watch;
  if (rank != 2) {  // has an endpoint, and never says a word
    watch =
        std::make_unique<PeerWatch>(*endpoint, rank, TestWorld().size(), kConfig, [&](int who, const auto&) {
          lost = who;
          ++calls;
        });
  }
  if (rank == 0) {
    for (int i = 0; i < 1000 && calls == 0; ++i) SleepMs(10);
    EXPECT_EQ(lost, 2);
  }
  EXPECT_TRUE(TestWorld().Share(OkStatus()).ok());
  EXPECT_EQ(calls, rank == 0 ? 1 : 0);
}

}  // namespace
}  // namespace penstock
