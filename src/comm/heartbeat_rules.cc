// SPDX-License-Identifier: Apache-2.0
#include "comm/heartbeat_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace penstock {

HeartbeatRules::HeartbeatRules(const HeartbeatConfig& config, std::vector<int> peers, int64_t now_us)
    : config_(config), last_tick_us_(now_us), look_grace_us_(now_us) {
  for (const int rank : peers) peers_.push_back({rank, now_us});
}

void HeartbeatRules::Heard(int rank, int64_t now_us) {
  for (Peer& peer : peers_) {
    if (peer.rank == rank) peer.heard_us = std::max(peer.heard_us, now_us);
  }
}

void HeartbeatRules::Left(int rank) {
  for (Peer& peer : peers_) peer.left |= peer.rank == rank;
}

bool HeartbeatRules::WasStopped(int64_t now_us) const { return now_us - last_tick_us_ > 4 * config_.tick_us; }

void HeartbeatRules::Hint(int64_t now_us) {
  if (!hint_us_ && !WasStopped(now_us)) hint_us_ = now_us;
}

const HeartbeatRules::Peer* HeartbeatRules::LongestSilent() const {
  const Peer* longest = nullptr;
  for (const Peer& peer : peers_) {
    if (!peer.left && (longest == nullptr || peer.heard_us < longest->heard_us)) longest = &peer;
  }
  return longest;
}

std::optional<LostPeer> HeartbeatRules::Tick(int64_t now_us, int64_t last_look_us) {
  if (WasStopped(now_us)) {
    const int64_t gap_us = now_us - last_tick_us_;
    for (Peer& peer : peers_) peer.heard_us = std::min(peer.heard_us + gap_us, now_us);
    look_grace_us_ = now_us;
  }
  last_tick_us_ = now_us;
  const Peer* peer = LongestSilent();
  if (decided_ || peer == nullptr) return std::nullopt;

  std::optional<LostPeer> lost;
  const int64_t silent_us = std::max<int64_t>(0, last_look_us - peer->heard_us);
  const int64_t stuck_us = now_us - std::max(last_look_us, look_grace_us_);
  if (silent_us > config_.limit_us) {
    lost = {peer->rank, fmt::format("no sign of life for {} ms", silent_us / 1000)};
  } else if (stuck_us > config_.limit_us) {
    lost = {-1, fmt::format("MPI has not returned for {} ms", stuck_us / 1000)};
  } else if (hint_us_ && now_us - *hint_us_ >= config_.hint_wait_us) {
    const bool is_silent = silent_us > config_.period_us * 3 / 2;
    lost = {is_silent ? peer->rank : -1, "the launcher ends the job"};
    if (is_silent) lost->reason += fmt::format(", no sign of life for {} ms", silent_us / 1000);
  }
  decided_ = lost.has_value();
  return lost;
}

}  // namespace penstock
