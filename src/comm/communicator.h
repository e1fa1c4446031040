// Communicator: a group of ranks that exchange rows of tensors. What a model says to its other shares.
//
//   inproc/   ranks that are threads of one process: the receiver copies out of the sender's memory
//   mpi/      ranks in processes of their own, on one machine or many
//
// There is one primitive, an exchange of byte ranges between pairs of ranks; everything collective is made of
// it (collectives.h), so that what a layout sends can be counted in one place.
//
// A peer that is gone is not an error here: whoever watches the ranks (pipeline/) ends the process.
//
// Thread safety: one thread, the rank's own.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

struct SendPart {
  int peer = 0;
  const void* data = nullptr;
  size_t bytes = 0;
};

struct RecvPart {
  int peer = 0;
  void* data = nullptr;
  size_t bytes = 0;  // as the peer's SendPart has it
};

class Communicator {
 public:
  // An exchange that has begun.
  using Ticket = uint64_t;

  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Begins to send and to receive; never waits for a peer to come. Parts between the same two ranks match in
  // the order in which both name them. No part is the rank's own. The memory stays as it is until Wait().
  Ticket Begin(std::span<const SendPart> sends, std::span<const RecvPart> recvs) {
    uint64_t bytes = sent_bytes();
    for (const SendPart& send : sends) bytes += send.bytes;
    sent_bytes_.store(bytes, std::memory_order_relaxed);  // one thread writes
    return DoBegin(sends, recvs);
  }

  // Returns when all parts of the exchange have been sent and received. Exchanges are waited for in the order
  // in which they began.
  virtual void Wait(Ticket ticket) = 0;

  void Exchange(std::span<const SendPart> sends, std::span<const RecvPart> recvs) {
    Wait(Begin(sends, recvs));
  }

  // What this rank has sent to others since it was made. Any thread.
  uint64_t sent_bytes() const { return sent_bytes_.load(std::memory_order_relaxed); }

 protected:
  virtual Ticket DoBegin(std::span<const SendPart> sends, std::span<const RecvPart> recvs) = 0;

 private:
  std::atomic<uint64_t> sent_bytes_{0};
};

}  // namespace penstock
