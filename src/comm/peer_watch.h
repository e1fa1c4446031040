// PeerWatch: notices within two seconds that a rank is gone: killed, stopped, or cut off.
//
// Rank 0 and every other rank tell each other that they are there (heartbeat_rules.h says when one is lost).
// The watch has a thread of its own, apart from the progress thread: with Open MPI a call about a dead peer
// may not return, and then this must still be said.
//
// Thread safety: Hint() from any thread (not from a signal handler); the rest from one.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "comm/heartbeat_rules.h"
#include "comm/message_channel.h"

namespace penstock {

class PeerWatch {
 public:
  // On the watch's thread, at most once: then the job cannot go on. rank: -1 where it is not known which.
  using OnLost = std::function<void(int rank, const std::string& reason)>;

  // Uses kWatchChannel of `endpoint`, which outlives the watch. rank, size: of the world.
  PeerWatch(MessageEndpoint& endpoint, int rank, int size, const HeartbeatConfig& config, OnLost on_lost);
  // Tells the peers that this rank leaves, so that they do not miss it.
  ~PeerWatch();

  // This process has got SIGCONT, which is how mpirun begins to end a job (heartbeat_rules.h). Not for
  // SIGTERM: that is also how a person ends rank 0 in good order.
  void Hint();

 private:
  class State;
  const std::shared_ptr<State> state_;  // callbacks of the endpoint may come after the watch is gone
};

}  // namespace penstock
