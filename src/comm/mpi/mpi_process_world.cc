// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi_process_world.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "comm/mpi/mpi_communicator.h"
#include "comm/mpi/mpi_endpoint.h"
#include "comm/mpi/mpi_wait.h"

namespace penstock {
namespace {

constexpr int kWelcomeTag = 2;
constexpr int kClockTag = 3;
constexpr int kClockRounds = 16;
constexpr size_t kHostBytes = 64;  // of a name that is cut and ends in 0
constexpr int64_t kGraceUs = 5'000'000;

// Which of the receives have not come; they are given up.
std::vector<int> GiveUpMissing(std::span<MPI_Request> requests) {
  std::vector<int> missing;
  for (size_t rank = 0; rank < requests.size(); ++rank) {
    int done = 1;
    if (requests[rank] != MPI_REQUEST_NULL) MPI_Test(&requests[rank], &done, MPI_STATUS_IGNORE);
    if (done) continue;
    missing.push_back(static_cast<int>(rank));
    MPI_Cancel(&requests[rank]);
    MPI_Request_free(&requests[rank]);
  }
  return missing;
}

}  // namespace

MpiProcessWorld::MpiProcessWorld() {
  CheckMpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  comm_ = MPI_COMM_WORLD;
  CheckMpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  CheckMpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

// Without Finish() MPI is left as it is: the launcher then ends the other ranks.
MpiProcessWorld::~MpiProcessWorld() = default;

Status MpiProcessWorld::Meet(int64_t limit_us) {
  if (rank_ == 0) return MeetAsRankZero(limit_us);
  char hello = 0, welcome = 0;
  MPI_Request requests[2];
  RETURN_IF_ERROR(
      MpiStatus(MPI_Irecv(&welcome, 1, MPI_BYTE, 0, kWelcomeTag, comm_, &requests[0]), "MPI_Irecv"));
  RETURN_IF_ERROR(MpiStatus(MPI_Isend(&hello, 1, MPI_BYTE, 0, kHelloTag, comm_, &requests[1]), "MPI_Isend"));
  // Rank 0 speaks first; this is for when it is gone itself.
  return AwaitRequests(requests, limit_us + kGraceUs).WithContext("rank 0");
}

Status MpiProcessWorld::MeetAsRankZero(int64_t limit_us) {
  std::vector<char> bytes(size_);
  std::vector<MPI_Request> hellos(size_, MPI_REQUEST_NULL);
  for (int rank = 1; rank < size_; ++rank) {
    RETURN_IF_ERROR(
        MpiStatus(MPI_Irecv(&bytes[rank], 1, MPI_BYTE, rank, kHelloTag, comm_, &hellos[rank]), "MPI_Irecv"));
  }
  if (const Status status = AwaitRequests(hellos, limit_us); !status.ok()) {
    const std::vector<int> missing = GiveUpMissing(hellos);
    if (missing.empty()) return status;  // an error of MPI's
    return Unavailable("{} of {} ranks are there after {:g} s: no word of rank {}", size_ - missing.size(),
                       size_, static_cast<double>(limit_us) / 1e6, fmt::join(missing, ", "));
  }
  std::vector<MPI_Request> welcomes(size_, MPI_REQUEST_NULL);
  for (int rank = 1; rank < size_; ++rank) {
    RETURN_IF_ERROR(MpiStatus(MPI_Isend(&bytes[rank], 1, MPI_BYTE, rank, kWelcomeTag, comm_, &welcomes[rank]),
                              "MPI_Isend"));
  }
  return AwaitRequests(welcomes, limit_us);
}

Status MpiProcessWorld::Introduce() {
  MPI_Comm own = MPI_COMM_NULL;
  RETURN_IF_ERROR(MpiStatus(MPI_Comm_dup(MPI_COMM_WORLD, &own), "MPI_Comm_dup"));
  comm_ = own;
  RETURN_IF_ERROR(MpiStatus(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  MPI_Comm local = MPI_COMM_NULL;
  RETURN_IF_ERROR(MpiStatus(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local),
                            "MPI_Comm_split_type"));
  MPI_Comm_rank(local, &local_rank_);
  MPI_Comm_size(local, &local_size_);
  MPI_Comm_free(&local);
  RETURN_IF_ERROR(ExchangeHosts());
  return MeasureClocks();
}

Status MpiProcessWorld::ExchangeHosts() {
  std::array<char, kHostBytes> own{};
  if (gethostname(own.data(), own.size() - 1) != 0) std::strcpy(own.data(), "unknown");
  std::vector<char> all(size_ * kHostBytes);
  MPI_Request request;
  RETURN_IF_ERROR(MpiStatus(
      MPI_Iallgather(own.data(), kHostBytes, MPI_BYTE, all.data(), kHostBytes, MPI_BYTE, comm_, &request),
      "MPI_Iallgather"));
  RETURN_IF_ERROR(AwaitRequests({&request, 1}));
  for (int rank = 0; rank < size_; ++rank) hosts_.emplace_back(&all[rank * kHostBytes]);
  return OkStatus();
}

// Rank 0 asks each rank in turn what time it is; the answer with the shortest round trip counts.
Status MpiProcessWorld::MeasureClocks() {
  clock_offsets_us_.assign(size_, 0);
  const auto receive = [&](int64_t* value, int peer) -> Status {
    MPI_Request request;
    RETURN_IF_ERROR(
        MpiStatus(MPI_Irecv(value, 1, MPI_INT64_T, peer, kClockTag, comm_, &request), "MPI_Irecv"));
    return AwaitRequests({&request, 1});
  };
  const auto send = [&](int64_t value, int peer) {
    return MpiStatus(MPI_Send(&value, 1, MPI_INT64_T, peer, kClockTag, comm_), "MPI_Send");
  };
  for (int peer = 1; peer < size_; ++peer) {
    int64_t shortest_us = INT64_MAX;
    for (int round = 0; round < kClockRounds; ++round) {
      int64_t peer_us = 0;
      if (rank_ == peer) {
        RETURN_IF_ERROR(receive(&peer_us, 0));
        RETURN_IF_ERROR(send(NowUs(), 0));
      } else if (rank_ == 0) {
        const int64_t start_us = NowUs();
        RETURN_IF_ERROR(send(start_us, peer));
        RETURN_IF_ERROR(receive(&peer_us, peer));
        const int64_t end_us = NowUs();
        if (end_us - start_us >= shortest_us) continue;
        shortest_us = end_us - start_us;
        clock_offsets_us_[peer] = peer_us - (start_us + shortest_us / 2);
      }
    }
  }
  MPI_Request request;
  RETURN_IF_ERROR(
      MpiStatus(MPI_Ibcast(clock_offsets_us_.data(), size_, MPI_INT64_T, 0, comm_, &request), "MPI_Ibcast"));
  return AwaitRequests({&request, 1});
}

Status MpiProcessWorld::BroadcastText(int root, std::string& text) {
  int64_t bytes = static_cast<int64_t>(text.size());
  MPI_Request request;
  RETURN_IF_ERROR(MpiStatus(MPI_Ibcast(&bytes, 1, MPI_INT64_T, root, comm_, &request), "MPI_Ibcast"));
  RETURN_IF_ERROR(AwaitRequests({&request, 1}));
  text.resize(bytes);
  RETURN_IF_ERROR(MpiStatus(MPI_Ibcast(text.data(), static_cast<int>(bytes), MPI_BYTE, root, comm_, &request),
                            "MPI_Ibcast"));
  return AwaitRequests({&request, 1});
}

Status MpiProcessWorld::Share(const Status& own) {
  const int failing = own.ok() ? size_ : rank_;
  int first = size_;
  MPI_Request request;
  RETURN_IF_ERROR(
      MpiStatus(MPI_Iallreduce(&failing, &first, 1, MPI_INT, MPI_MIN, comm_, &request), "MPI_Iallreduce"));
  RETURN_IF_ERROR(AwaitRequests({&request, 1}));
  if (first == size_) return OkStatus();
  std::string text = own.message();
  RETURN_IF_ERROR(BroadcastText(first, text));
  return InvalidArgument("rank {} ({}): {}", first, hosts_[first], text);
}

Status MpiProcessWorld::Agree(const std::string& what, const std::string& value) {
  std::string expected = value;
  RETURN_IF_ERROR(BroadcastText(0, expected));
  return Share(value == expected
                   ? OkStatus()
                   : InvalidArgument("{}: got {}, expected {} (rank 0's)", what, value, expected));
}

std::unique_ptr<Communicator> MpiProcessWorld::MakeCommunicator(std::span<const int> ranks) {
  return MakeMpiCommunicator(comm_, ranks);
}

std::unique_ptr<MessageEndpoint> MpiProcessWorld::MakeEndpoint(MessageEndpoint::OnError on_error) {
  return MakeMpiEndpoint(comm_, std::move(on_error));
}

void MpiProcessWorld::Abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);  // where MPI cannot
}

Status MpiProcessWorld::Finish(int64_t limit_us) {
  CHECK(!finished_);
  MPI_Request request;
  RETURN_IF_ERROR(MpiStatus(MPI_Ibarrier(comm_, &request), "MPI_Ibarrier"));
  RETURN_IF_ERROR(AwaitRequests({&request, 1}, limit_us).WithContext("other ranks at the end"));
  finished_ = true;
  MPI_Comm_free(&comm_);
  return MpiStatus(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace penstock
