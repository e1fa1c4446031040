// MpiWorld: the ranks of a job, each a process: who they are, and what they must agree on before work begins.
//
//   mpi/      where the build found MPI
//   no_mpi/   elsewhere: a process that an MPI launcher started ends with an error
//
// A process that no launcher started is a world of one rank in both, and touches no MPI.
// mpi.h is included in mpi/ only.
//
// Thread safety: one thread (the one that started it), save Abort(). What says "all ranks" is called by all
// of them, in the same order. Nothing here keeps a core busy while it waits.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "comm/communicator.h"
#include "comm/message_channel.h"
#include "comm/mpi_launch.h"

namespace penstock {

struct MpiStartOptions {
  MpiLaunch launch;
  // All ranks are to be there within this time (the seed's HCCL_CONNECT_TIMEOUT). Past it rank 0 says in one
  // line who is missing and the job ends with exit code 1.
  int64_t connect_limit_us = 120'000'000;
};

class MpiWorld {
 public:
  virtual ~MpiWorld() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Among the ranks of this machine.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;
  // The name of the machine that `rank` runs on.
  virtual const std::string& host(int rank) const = 0;
  // NowUs() of `rank` less NowUs() of rank 0 at the same moment, as measured at the start; to within half of
  // the shortest round trip between the two.
  virtual int64_t ClockOffsetUs(int rank) const = 0;

  // All ranks. The status of the lowest rank whose own is not OK, with "rank N (host): " before it; OK where
  // all are.
  virtual Status Share(const Status& own) = 0;

  // All ranks. `value` is to be the same everywhere. Error, on every rank: "rank 2 (host): WHAT: got …,
  // expected … (rank 0's)".
  virtual Status Agree(const std::string& what, const std::string& value) = 0;

  // The ranks of `ranks`, in that order, which must be called by each of them (and this rank must be one).
  // Its exchanges meet no others. Groups that share ranks are made in the same order by all that they share.
  // The communicator must be gone before Finish().
  virtual std::unique_ptr<Communicator> MakeCommunicator(std::span<const int> ranks) = 0;

  // All ranks. Messages to and from every other rank; must be gone before Finish(). nullptr in a world of one
  // rank.
  virtual std::unique_ptr<MessageEndpoint> MakeEndpoint(MessageEndpoint::OnError on_error) = 0;

  // Ends every rank of the job now, with this exit code. From any thread; does not return.
  [[noreturn]] virtual void Abort(int exit_code) = 0;

  // All ranks: waits for them, for `limit_us` at most, and lets go of MPI. Error: who did not come (then end
  // with Abort()).
  virtual Status Finish(int64_t limit_us = 5'000'000) = 0;
};

// Error: MPI cannot give what is needed (names what), the launcher's world is another than MPI's, or this
// build has no MPI and a launcher started it.
Result<std::unique_ptr<MpiWorld>> StartMpiWorld(const MpiStartOptions& options);

// Whether this build has MPI, and which: "Open MPI 4.1.4", "" for none.
std::string MpiLibraryName();

// A world of this process alone.
std::unique_ptr<MpiWorld> MakeOneRankWorld();

}  // namespace penstock
