// TransferSet: the messages that one process has under way over MPI, and what becomes of them.
//
// Each message is two MPI messages, whose tags are 2 * channel and 2 * channel + 1: the frame with the
// header, and the payload (also where it is empty, so that both are matched in the same order). A lane is
// what goes one way between this rank and a peer on a channel: messages of a lane end in the order in which
// they began.
//
// Thread safety: one thread, on which the callbacks run.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "comm/message_channel.h"

namespace penstock {

// One message, to be sent or received.
struct Transfer {
  bool is_send = false;
  int peer = 0;
  int channel = 0;
  std::vector<std::byte> frame;  // send: the header with kFrameBytes free before it; receive: room for both
  void* payload = nullptr;       // send: is only read
  size_t payload_bytes = 0;      // receive: capacity
  MessageEndpoint::OnSent on_sent;
  MessageEndpoint::OnArrival on_arrival;

  // Of TransferSet.
  int parts_under_way = 0;
  size_t got_frame_bytes = 0;
  size_t got_payload_bytes = 0;
  Status error;
};

class TransferSet {
 public:
  // `comm` is the caller's, and outlives this.
  TransferSet(MPI_Comm comm, MessageEndpoint::OnError on_error);

  void Begin(std::unique_ptr<Transfer> transfer);

  // Asks MPI what is done and calls back for it. Returns whether anything but heartbeats was.
  bool Look();

  // Whether bytes are on their way: something is being sent, or a header has come without its payload.
  bool moving() const { return sending_ > 0 || arriving_ > 0; }
  bool sending() const { return sending_ > 0; }

  // Gives up what is under way.
  void Cancel();

 private:
  struct Lane {
    std::deque<std::unique_ptr<Transfer>> transfers;
    uint64_t sequence = 0;  // of the next that begins (send), is delivered (receive)
    bool broken = false;
  };
  struct Part {
    Transfer* transfer;
    bool is_header;
  };

  Lane& LaneOf(const Transfer& transfer);
  void BeginPart(Transfer& transfer, bool is_header);
  void EndPart(const Part& part, const MPI_Status& status, int error);
  // Ends the transfers at the head of a lane that are done.
  void Settle(Lane& lane);
  // Checks a received message and delivers it.
  Status Deliver(Transfer& transfer, uint64_t sequence);

  const MPI_Comm comm_;
  const MessageEndpoint::OnError on_error_;
  std::map<int64_t, Lane> lanes_;
  std::vector<MPI_Request> requests_;
  std::vector<Part> parts_;  // of the request at the same place
  std::vector<int> done_;    // what Look() is told
  std::vector<MPI_Status> statuses_;
  int sending_ = 0;
  int arriving_ = 0;
};

}  // namespace penstock
