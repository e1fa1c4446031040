// MessageEndpoint: messages between the processes of a job that are sent while their owners compute.
//
// A message is a short header and a payload; both go from and into the caller's memory. One progress thread
// for each endpoint does what MPI asks to be done: it sleeps between looks: for 20 us after something
// has come, then longer, up to 100 us while something is moving, and up to an eighth of the silence (200 us
// to 1 ms) when nothing is; it is woken at once by Send() and PostReceive(). A transfer so overlaps the work
// of whoever began it; a sender that wants two under way keeps two buffers.
//
// Messages from one rank to another on one channel arrive in the order in which they were sent, and take the
// receives in the order in which these were posted. Channels do not wait for each other.
//
// On the wire a header travels in a frame of fixed binary fields (message_frame.h). A frame that is not ours,
// of another version, or larger than what is posted is an error of the channel: on_error is called, and that
// channel's messages are no longer delivered.
//
// Thread safety: any thread. Callbacks run on the progress thread, must be short, and may call Send() and
// PostReceive(). A peer that is gone is not an error here, but silence (peer_watch.h).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"

namespace penstock {

// Channels 0 … kMaxChannels - 1; the last is PeerWatch's.
constexpr int kMaxChannels = 64;
constexpr int kWatchChannel = kMaxChannels - 1;
// Of a header, of a payload.
constexpr size_t kMaxHeaderBytes = size_t{64} << 20;
constexpr size_t kMaxPayloadBytes = (size_t{1} << 31) - 1;

class MessageEndpoint {
 public:
  // The payload's buffer is the caller's again.
  using OnSent = std::function<void()>;
  // header: valid during the call. payload_bytes of the posted buffer are filled.
  using OnArrival = std::function<void(std::span<const std::byte> header, size_t payload_bytes)>;
  using OnError = std::function<void(int peer, int channel, const Status& status)>;

  // Waits for what is being sent, for a second at most, and gives up what was posted.
  virtual ~MessageEndpoint() = default;

  // payload may be nullptr if payload_bytes is 0.
  virtual void Send(int peer, int channel, std::vector<std::byte> header, const void* payload,
                    size_t payload_bytes, OnSent on_sent) = 0;

  // For one message. `payload` stays until it has arrived or the endpoint is gone.
  virtual void PostReceive(int peer, int channel, size_t header_capacity, void* payload,
                           size_t payload_capacity, OnArrival on_arrival) = 0;

  // NowUs() of the progress thread's last look. When it stands still, the thread is not scheduled, or MPI
  // does not return.
  virtual int64_t last_look_us() const = 0;

  // Since it was made: bytes of headers and payloads that have been handed over to be sent.
  virtual uint64_t sent_bytes() const = 0;
};

}  // namespace penstock
