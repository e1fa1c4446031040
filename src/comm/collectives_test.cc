// SPDX-License-Identifier: Apache-2.0
#include "comm/collectives.h"

#include <gtest/gtest.h>

#include <vector>

#include "comm/testing/run_ranks.h"

namespace penstock {
namespace {

const auto kSerial = [](int64_t count, FunctionRef<void(int64_t, int64_t)> body) { body(0, count); };

class CollectivesTest : public ::testing::TestWithParam<int> {};

TEST_P(CollectivesTest, AllGatherGivesEveryRowToEveryRank) {
  for (const int64_t rows : {0, 1, 3, 10}) {
    RunRanks(GetParam(), [&](Communicator& comm) {
      std::vector<float> data(rows * 4, -1);
      const Mat all(data.data(), DType::kF32, rows, 4);
      for (int64_t r = RowCut(rows, comm.size(), comm.rank()); r < RowCut(rows, comm.size(), comm.rank() + 1);
           ++r) {
        for (int c = 0; c < 4; ++c) all.Row<float>(r)[c] = static_cast<float>(10 * r + c);
      }
      AllGatherRows(comm, all);
      for (int64_t r = 0; r < rows; ++r) {
        for (int c = 0; c < 4; ++c) EXPECT_EQ(all.Row<float>(r)[c], 10 * r + c);
      }
    });
  }
}

TEST_P(CollectivesTest, ReduceScatterAddsAllPartialsToOwnRowsWithOneRounding) {
  const int size = GetParam();
  constexpr int64_t kRows = 5, kCols = 300;
  RunRanks(size, [&](Communicator& comm) {
    std::vector<Bf16> partial_data(kRows * kCols), own_data(kRows * kCols);
    const Mat partial(partial_data.data(), DType::kBF16, kRows, kCols);
    for (auto& value : partial_data) value = ToBf16(1.0f / 256);  // half a unit in the last place of 1
    const Mat whole(own_data.data(), DType::kBF16, kRows, kCols);
    for (auto& value : own_data) value = ToBf16(1.0f);
    std::vector<std::byte> scratch(ReduceScratchBytes(kRows, kCols, DType::kBF16, size));
    const Mat own = OwnRows(whole, comm);
    const uint64_t before = comm.sent_bytes();
    ReduceScatterRows(comm, partial, scratch.data(), own, kSerial);
    EXPECT_EQ(comm.sent_bytes() - before, 2 * kCols * (kRows - own.rows));
    for (int64_t r = 0; r < own.rows; ++r) {
      EXPECT_EQ(own.Row<Bf16>(r)[kCols - 1].bits, ToBf16(1.0f + static_cast<float>(size) / 256).bits);
    }
  });
}

TEST_P(CollectivesTest, BroadcastAndGatherManyTimes) {
  RunRanks(GetParam(), [&](Communicator& comm) {
    for (int i = 0; i < 200; ++i) {
      int value = comm.rank() == i % comm.size() ? i : -1;
      Broadcast(comm, i % comm.size(), &value, sizeof(value));
      EXPECT_EQ(value, i);
      const int own = 100 * i + comm.rank();
      std::vector<int> all(comm.size());
      AllGather(comm, &own, sizeof(own), all.data());
      for (int r = 0; r < comm.size(); ++r) EXPECT_EQ(all[r], 100 * i + r);
    }
  });
}

TEST_P(CollectivesTest, ExchangesOverlap) {
  RunRanks(GetParam(), [&](Communicator& comm) {
    const int next = (comm.rank() + 1) % comm.size();
    const int last = (comm.rank() + comm.size() - 1) % comm.size();
    if (next == comm.rank()) return;
    std::vector<int> sent(30), received(30);
    std::vector<Communicator::Ticket> tickets;
    for (int i = 0; i < 30; ++i) {
      sent[i] = 1000 * comm.rank() + i;
      const SendPart send{next, &sent[i], sizeof(int)};
      const RecvPart recv{last, &received[i], sizeof(int)};
      tickets.push_back(comm.Begin({&send, 1}, {&recv, 1}));
    }
    for (const auto ticket : tickets) comm.Wait(ticket);
    for (int i = 0; i < 30; ++i) EXPECT_EQ(received[i], 1000 * last + i);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, CollectivesTest, ::testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace penstock
