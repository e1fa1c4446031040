// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <vector>

#include "comm/mpi/mpi_process_world.h"
#include "comm/mpi/test_world.h"

namespace penstock {
namespace {

TEST(MpiWorldTest, RanksKnowEachOther) {
  MpiWorld& world = TestWorld();
  ASSERT_EQ(world.size(), 4);
  EXPECT_EQ(world.local_size(), 4);
  EXPECT_EQ(world.local_rank(), world.rank());
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(world.host(rank), world.host(0));
  EXPECT_FALSE(world.host(0).empty());
}

TEST(MpiWorldTest, ClocksOfOneMachineAgree) {
  EXPECT_EQ(TestWorld().ClockOffsetUs(0), 0);
  // Half of the shortest round trip, on a machine with fewer cores than ranks.
  for (int rank = 1; rank < 4; ++rank) EXPECT_LT(std::abs(TestWorld().ClockOffsetUs(rank)), 50'000);
}

TEST(MpiWorldTest, WhoDoesNotComeIsNamed) {
  MpiProcessWorld world;
  if (world.rank() == 1) {
    char hello = 0;
    MPI_Send(&hello, 1, MPI_BYTE, 0, MpiProcessWorld::kHelloTag, MPI_COMM_WORLD);
  } else if (world.rank() == 0) {
    EXPECT_EQ(world.Meet(500'000).message(), "2 of 4 ranks are there after 0.5 s: no word of rank 2, 3");
  }
  EXPECT_TRUE(TestWorld().Share(OkStatus()).ok());
}

TEST(MpiWorldTest, TheFirstErrorIsEveryones) {
  MpiWorld& world = TestWorld();
  EXPECT_TRUE(world.Share(OkStatus()).ok());
  const Status status = world.Share(world.rank() >= 2 ? NotFound("no file {}", world.rank()) : OkStatus());
  EXPECT_EQ(status.message(), "rank 2 (" + world.host(2) + "): no file 2");
}

TEST(MpiWorldTest, RanksThatDifferAreNamed) {
  MpiWorld& world = TestWorld();
  EXPECT_TRUE(world.Agree("layout", "pp2tp2").ok());
  const Status status = world.Agree("model", world.rank() == 3 ? "another" : "the one");
  EXPECT_EQ(status.message(),
            "rank 3 (" + world.host(3) + "): model: got another, expected the one (rank 0's)");
}

TEST(MpiWorldTest, GroupsDoNotMeet) {
  MpiWorld& world = TestWorld();
  const int pair = world.rank() / 2;
  const std::vector<int> ranks = {2 * pair + 1, 2 * pair};  // the other way round
  const auto pair_comm = world.MakeCommunicator(ranks);
  const auto all_comm = world.MakeCommunicator(std::vector<int>{0, 1, 2, 3});
  EXPECT_EQ(pair_comm->size(), 2);
  EXPECT_EQ(pair_comm->rank(), 1 - world.rank() % 2);
  // Both have an exchange with the same process under way; the later one is waited for first.
  const int partner = world.rank() ^ 1;
  const int from_pair = 10 + world.rank(), from_all = 20 + world.rank();
  int got_pair = 0, got_all = 0;
  const SendPart send_pair{1 - pair_comm->rank(), &from_pair, sizeof(int)};
  const RecvPart recv_pair{1 - pair_comm->rank(), &got_pair, sizeof(int)};
  const SendPart send_all{partner, &from_all, sizeof(int)};
  const RecvPart recv_all{partner, &got_all, sizeof(int)};
  const auto ticket = pair_comm->Begin({&send_pair, 1}, {&recv_pair, 1});
  all_comm->Exchange({&send_all, 1}, {&recv_all, 1});
  pair_comm->Wait(ticket);
  EXPECT_EQ(got_pair, 10 + partner);
  EXPECT_EQ(got_all, 20 + partner);
}

TEST(MpiWorldTest, LargePartsArriveWhole) {
  MpiWorld& world = TestWorld();
  const auto comm = world.MakeCommunicator(std::vector<int>{0, 1, 2, 3});
  const int next = (world.rank() + 1) % 4, last = (world.rank() + 3) % 4;
  std::vector<int> sent(1 << 20, world.rank()), received(1 << 20, -1);
  const SendPart send{next, sent.data(), sent.size() * sizeof(int)};
  const RecvPart recv{last, received.data(), received.size() * sizeof(int)};
  comm->Exchange({&send, 1}, {&recv, 1});
  EXPECT_EQ(received, std::vector<int>(1 << 20, last));
}

}  // namespace
}  // namespace penstock
