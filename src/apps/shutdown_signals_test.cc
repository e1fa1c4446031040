// SPDX-License-Identifier: Apache-2.0
#include "apps/shutdown_signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace penstock {
namespace {

TEST(ShutdownSignalsDeathTest, WhileStartingASignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        ShutdownSignals signals;
        kill(getpid(), SIGTERM);
        signals.Wait();
      },
      ::testing::ExitedWithCode(128 + SIGTERM), "Ended by SIGTERM");
}

TEST(ShutdownSignalsDeathTest, WhileServingTheSecondOneDoes) {
  EXPECT_EXIT(
      {
        ShutdownSignals signals;
        signals.BeginServing();
        kill(getpid(), SIGTERM);
        if (signals.Wait() != SIGTERM) _exit(1);
        kill(getpid(), SIGINT);
        while (true) pause();
      },
      ::testing::ExitedWithCode(128 + SIGINT), "Ended by SIGINT");
}

TEST(ShutdownSignalsDeathTest, EndsWithoutASignal) {
  EXPECT_EXIT(
      {
        {
          ShutdownSignals signals;
        }
        _exit(7);
      },
      ::testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace penstock
