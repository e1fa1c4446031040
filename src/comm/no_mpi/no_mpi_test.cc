// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <vector>

#include "comm/mpi_world.h"

namespace penstock {
namespace {

TEST(NoMpiTest, AnOrdinaryStartIsAWorldOfOne) {
  const auto world = StartMpiWorld({});
  ASSERT_TRUE(world.ok());
  EXPECT_EQ((*world)->size(), 1);
  EXPECT_EQ((*world)->MakeCommunicator(std::vector<int>{0})->size(), 1);
}

TEST(NoMpiTest, ALaunchersStartIsAnError) {
  const auto world = StartMpiWorld({.launch = {.launcher = "PMIx", .rank = 1, .size = 4}});
  ASSERT_FALSE(world.ok());
  EXPECT_EQ(world.status().message(),
            "started by PMIx as rank 1 of 4: this build has no MPI (build with -DPENSTOCK_MPI=ON)");
}

}  // namespace
}  // namespace penstock
