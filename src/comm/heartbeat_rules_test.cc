// SPDX-License-Identifier: Apache-2.0
#include "comm/heartbeat_rules.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr int64_t kMs = 1000;
constexpr int64_t kSecond = 1000 * kMs;

// Virtual time in ticks of 50 ms; peers 1 and 2 beat every 200 ms while they are alive.
struct Scene {
  HeartbeatRules rules{HeartbeatConfig{}, {1, 2}, 0};
  int64_t now_us = 0;
  bool alive[3] = {true, true, true};
  bool looking = true;
  bool unread[3] = {};
  int64_t last_look_us = 0;

  // Until a verdict or `until_us`.
  std::optional<LostPeer> Run(int64_t until_us) {
    while (now_us < until_us) {
      now_us += 50 * kMs;
      if (looking) last_look_us = now_us;
      for (int rank = 1; rank < 3; ++rank) {
        unread[rank] |= alive[rank] && now_us % (200 * kMs) == 0;
        if (!looking || !unread[rank]) continue;
        rules.Heard(rank, now_us);
        unread[rank] = false;
      }
      if (auto lost = rules.Tick(now_us, last_look_us)) return lost;
    }
    return std::nullopt;
  }
};

TEST(HeartbeatRulesTest, ASilentPeerIsLostOnceAfterTheLimit) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.alive[2] = false;
  const auto lost = scene.Run(60 * kSecond);
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->rank, 2);
  EXPECT_GT(scene.now_us, 11'500 * kMs);
  EXPECT_LE(scene.now_us, 11'600 * kMs);
  scene.alive[1] = false;
  EXPECT_FALSE(scene.Run(70 * kSecond)) << "one verdict only";
}

TEST(HeartbeatRulesTest, APauseOfOursIsGrantedAgain) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.alive[1] = scene.alive[2] = false;  // or so it seems: nothing is read while the process is stopped
  scene.now_us += 5 * kSecond;
  EXPECT_FALSE(scene.Run(15'500 * kMs));
  scene.alive[1] = true;
  const auto lost = scene.Run(30 * kSecond);  // the other does not come back
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->rank, 2);
  EXPECT_GT(scene.now_us, 16'400 * kMs);
}

TEST(HeartbeatRulesTest, WhatWasNotLookedForIsNotSilence) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.looking = false;
  EXPECT_FALSE(scene.Run(11'400 * kMs));
  scene.looking = true;
  EXPECT_FALSE(scene.Run(20 * kSecond));
}

TEST(HeartbeatRulesTest, MpiThatDoesNotReturnIsALoss) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.looking = false;
  const auto lost = scene.Run(60 * kSecond);
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->rank, -1);
  EXPECT_EQ(lost->reason, "MPI has not returned for 1550 ms");
}

TEST(HeartbeatRulesTest, AfterTheLaunchersHintTheVerdictIsQuick) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.alive[1] = false;
  scene.rules.Hint(scene.now_us);
  const auto lost = scene.Run(60 * kSecond);
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->rank, 1);
  EXPECT_EQ(scene.now_us, 10'400 * kMs);
}

TEST(HeartbeatRulesTest, AHintWithoutSilenceNamesNobody) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.rules.Hint(scene.now_us);
  const auto lost = scene.Run(60 * kSecond);
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->rank, -1);
}

TEST(HeartbeatRulesTest, TheSignalThatEndsOurOwnStopIsNoHint) {
  Scene scene;
  EXPECT_FALSE(scene.Run(10 * kSecond));
  scene.now_us += 3 * kSecond;
  scene.rules.Hint(scene.now_us);
  EXPECT_FALSE(scene.Run(30 * kSecond));
}

TEST(HeartbeatRulesTest, WhoHasLeftIsNotMissed) {
  Scene scene;
  scene.rules.Left(1);
  scene.alive[1] = false;
  EXPECT_FALSE(scene.Run(30 * kSecond));
}

}  // namespace
}  // namespace penstock
