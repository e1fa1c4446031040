// All parts have one tag: MPI keeps the order of messages between two ranks of one communicator, which is the
// order in which both name their parts.
//
// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi_communicator.h"

#include <unistd.h>

#include <climits>
#include <deque>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "comm/inproc/inproc_group.h"
#include "comm/mpi/mpi_wait.h"

namespace penstock {
namespace {

constexpr int kTag = 0;

int CountOf(size_t bytes) {
  CHECK_LE(bytes, static_cast<size_t>(INT_MAX)) << "a part of an exchange between processes is below 2 GiB";
  return static_cast<int>(bytes);
}

class MpiCommunicator : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm) : comm_(comm) {
    CheckMpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    CheckMpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }

  ~MpiCommunicator() override { MPI_Comm_free(&comm_); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void Wait(Ticket ticket) override {
    CHECK_EQ(ticket, next_wait_) << "exchanges are waited for in order";
    ++next_wait_;
    std::vector<MPI_Request> requests = std::move(pending_.front());
    pending_.pop_front();
    if (const Status status = AwaitRequests(requests); !status.ok()) Lost(status);
    spare_.push_back(std::move(requests));
  }

 protected:
  Ticket DoBegin(std::span<const SendPart> sends, std::span<const RecvPart> recvs) override {
    std::vector<MPI_Request> requests = TakeSpare();
    requests.resize(sends.size() + recvs.size(), MPI_REQUEST_NULL);
    MPI_Request* request = requests.data();
    for (const RecvPart& part : recvs) {
      CHECK(part.peer >= 0 && part.peer < size_ && part.peer != rank_) << part.peer;
      Expect(MPI_Irecv(part.data, CountOf(part.bytes), MPI_BYTE, part.peer, kTag, comm_, request++));
    }
    for (const SendPart& part : sends) {
      CHECK(part.peer >= 0 && part.peer < size_ && part.peer != rank_) << part.peer;
      Expect(MPI_Isend(part.data, CountOf(part.bytes), MPI_BYTE, part.peer, kTag, comm_, request++));
    }
    pending_.push_back(std::move(requests));
    return next_ticket_++;
  }

 private:
  std::vector<MPI_Request> TakeSpare() {
    if (spare_.empty()) return {};
    std::vector<MPI_Request> requests = std::move(spare_.back());
    spare_.pop_back();
    requests.clear();
    return requests;
  }

  void Expect(int code) {
    if (code != MPI_SUCCESS) Lost(MpiStatus(code, "exchange"));
  }

  // A peer is gone, or MPI is broken. There is nothing to return to: the watcher (peer_watch.h) tells clients
  // and ends the process. This thread must not go on with half an exchange.
  [[noreturn]] void Lost(const Status& status) {
    LogError("exchange of rank {} of {}: {}", rank_, size_, status.message());
    for (;;) pause();
  }

  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 0;
  std::deque<std::vector<MPI_Request>> pending_;
  std::vector<std::vector<MPI_Request>> spare_;
  Ticket next_ticket_ = 0;
  Ticket next_wait_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> MakeMpiCommunicator(MPI_Comm parent, std::span<const int> ranks) {
  CHECK(!ranks.empty());
  if (ranks.size() == 1) return std::move(MakeInprocGroup(1).front());
  MPI_Group all, group;
  CheckMpi(MPI_Comm_group(parent, &all), "MPI_Comm_group");
  CheckMpi(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &group), "MPI_Group_incl");
  MPI_Comm comm = MPI_COMM_NULL;
  CheckMpi(MPI_Comm_create_group(parent, group, 0, &comm), "MPI_Comm_create_group");
  CHECK(comm != MPI_COMM_NULL) << "the rank is not one of the group";
  CheckMpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  MPI_Group_free(&group);
  MPI_Group_free(&all);
  return std::make_unique<MpiCommunicator>(comm);
}

}  // namespace penstock
