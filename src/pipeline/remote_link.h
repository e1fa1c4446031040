// The ends of a lane that are in different processes, over a MessageEndpoint.
//
//   rank (s, l) ─▶ RemoteOutlet ─ header: all of the packet but … ─▶ RemoteInlet ─▶ rank (s + 1, l)
//                                 payload: the rank's own rows
//
// Every buffer that is free on the receiving side is posted for the next packet; the sender's is free again
// when its rows are on their way: the transfer of one packet overlaps the work on the next on both sides.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "comm/message_channel.h"
#include "pipeline/packet.h"

namespace penstock {

// One direction between two processes.
struct RemoteEnd {
  MessageEndpoint* endpoint = nullptr;
  int peer = 0;  // the other process
  int channel = 0;
};

// Sends `bytes` in as many messages as it takes, the payload with the last one.
void SendMessage(const RemoteEnd& end, std::span<const std::byte> bytes, const void* payload,
                 size_t payload_bytes, MessageEndpoint::OnSent on_sent);
void SendClose(const RemoteEnd& end);

// Puts the messages of SendMessage() together again. Each whole one is given to `on_message` with the
// payload's size; after a close nothing comes.
class MessageAssembler {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 18;

  // The message of which this was the last piece, as long as Take() is not called again; absent: more is to
  // come.
  struct Message {
    bool is_close = false;
    std::vector<std::byte> bytes;
  };
  Result<std::optional<Message>> Add(std::span<const std::byte> piece);

 private:
  std::vector<std::byte> bytes_;
};

// What an arrival that makes no sense is told to.
using LinkError = std::function<void(const Status& status)>;

std::shared_ptr<HeadInlet> MakeRemoteInlet(const RemoteEnd& from, LinkError on_error);

// `head` gets the buffers back. `is_synchronous`: Push() returns when the rows are sent (to measure what that
// costs).
std::unique_ptr<PacketOutlet> MakeRemoteOutlet(const RemoteEnd& to, std::shared_ptr<HeadInlet> head,
                                               bool is_synchronous);

// Calls `on_message` with each message without payload, from the endpoint's thread, until one is a close, for
// which it calls `on_close` where there is one.
void ReceiveMessages(const RemoteEnd& from, std::function<void(std::span<const std::byte>)> on_message,
                     LinkError on_error, std::function<void()> on_close = {});

}  // namespace penstock
