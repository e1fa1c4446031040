// The MpiWorld of an MPI job: how it is started (start_mpi.cc) and what it says.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

#include "comm/mpi_world.h"

namespace penstock {

class MpiProcessWorld : public MpiWorld {
 public:
  static constexpr int kHelloTag = 1;

  // MPI_Init_thread has been called.
  MpiProcessWorld();
  ~MpiProcessWorld() override;

  // All ranks, first of all: each says hello to rank 0, which waits for `limit_us`. Error on rank 0: who is
  // missing. On the others: rank 0 did not answer within the limit and some more.
  Status Meet(int64_t limit_us);
  // All ranks, after Meet(): hosts, local ranks, clocks.
  Status Introduce();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  const std::string& host(int rank) const override { return hosts_[rank]; }
  int64_t ClockOffsetUs(int rank) const override { return clock_offsets_us_[rank]; }
  Status Share(const Status& own) override;
  Status Agree(const std::string& what, const std::string& value) override;
  std::unique_ptr<Communicator> MakeCommunicator(std::span<const int> ranks) override;
  std::unique_ptr<MessageEndpoint> MakeEndpoint(MessageEndpoint::OnError on_error) override;
  [[noreturn]] void Abort(int exit_code) override;
  Status Finish(int64_t limit_us) override;

  MPI_Comm comm() const { return comm_; }

 private:
  Status MeetAsRankZero(int64_t limit_us);
  Status MeasureClocks();
  Status ExchangeHosts();
  // `text` of rank `root` on all.
  Status BroadcastText(int root, std::string& text);

  MPI_Comm comm_ = MPI_COMM_NULL;  // all ranks; what this class sends
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  std::vector<std::string> hosts_;
  std::vector<int64_t> clock_offsets_us_;
  bool finished_ = false;
};

}  // namespace penstock
