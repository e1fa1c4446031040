// HeartbeatRules: when a silent peer is lost. No clock, no thread: the times are the caller's.
//
// A peer says that it is there every period; one that has not been heard for the limit is lost. Silence
// counts only while this process could hear: what passed while it was not scheduled itself (a gap between two
// looks) is granted once more, and what was not yet looked for counts for nothing. Where the process runs and
// MPI does not return for the limit, that is a loss as well: it hangs in a call that waits for a dead peer.
//
// The launcher's signal: Open MPI's mpirun sends SIGCONT to all ranks as soon as one has died, SIGTERM a
// second later and SIGKILL after another. After such a hint the verdict is due within `hint_wait_us`.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

struct HeartbeatConfig {
  int64_t period_us = 200'000;
  int64_t limit_us = 1'500'000;
  int64_t tick_us = 50'000;        // how often Tick() is called
  int64_t hint_wait_us = 400'000;  // from a hint to the verdict
};

struct LostPeer {
  int rank = -1;  // -1: one that is not known
  std::string reason;
};

class HeartbeatRules {
 public:
  HeartbeatRules(const HeartbeatConfig& config, std::vector<int> peers, int64_t now_us);

  void Heard(int rank, int64_t now_us);
  // The peer has said that it leaves: its silence means nothing.
  void Left(int rank);
  // The launcher has signalled that the job ends. Ignored if this process has just been stopped itself.
  void Hint(int64_t now_us);

  // last_look_us: when messages were last looked for. At most one verdict is ever returned.
  std::optional<LostPeer> Tick(int64_t now_us, int64_t last_look_us);

 private:
  struct Peer {
    int rank;
    int64_t heard_us;
    bool left = false;
  };
  const Peer* LongestSilent() const;
  bool WasStopped(int64_t now_us) const;

  const HeartbeatConfig config_;
  std::vector<Peer> peers_;
  int64_t last_tick_us_;
  int64_t look_grace_us_;  // `last_look_us` counts from here
  std::optional<int64_t> hint_us_;
  bool decided_ = false;
};

}  // namespace penstock
