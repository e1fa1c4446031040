// SPDX-License-Identifier: Apache-2.0
#include "comm/peer_watch.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace penstock {
namespace {

// A heartbeat's header.
constexpr std::byte kHere{1};
constexpr std::byte kLeaving{2};

std::vector<int> PeersOf(int rank, int size) {
  if (rank != 0) return {0};
  std::vector<int> peers;
  for (int peer = 1; peer < size; ++peer) peers.push_back(peer);
  return peers;
}

}  // namespace

class PeerWatch::State : public std::enable_shared_from_this<PeerWatch::State> {
 public:
  State(MessageEndpoint& endpoint, std::vector<int> peers, const HeartbeatConfig& config, OnLost on_lost)
      : endpoint_(endpoint),
        peers_(std::move(peers)),
        config_(config),
        on_lost_(std::move(on_lost)),
        under_way_(peers_.size(), false),
        rules_(config, peers_, NowUs()) {}

  void Start() {
    for (const int peer : peers_) {
      Post(peer);
      Post(peer);
    }
    thread_ = std::thread([this] { Watch(); });
  }

  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
    for (const int peer : peers_) endpoint_.Send(peer, kWatchChannel, {kLeaving}, nullptr, 0, nullptr);
  }

  void Hint() {
    std::lock_guard lock(mutex_);
    rules_.Hint(NowUs());
  }

 private:
  void Post(int peer) {
    endpoint_.PostReceive(peer, kWatchChannel, 1, nullptr, 0,
                          [self = shared_from_this(), peer](std::span<const std::byte> header, size_t) {
                            self->Heard(peer, header);
                          });
  }

  void Heard(int peer, std::span<const std::byte> header) {
    {
      std::lock_guard lock(mutex_);
      rules_.Heard(peer, NowUs());
      if (!header.empty() && header[0] == kLeaving) rules_.Left(peer);
      if (stopping_) return;
    }
    Post(peer);
  }

  void Watch() {
    pthread_setname_np(pthread_self(), "watch");
    int64_t next_beat_us = NowUs();
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const int64_t now_us = NowUs();
      if (now_us >= next_beat_us) {
        Beat();
        next_beat_us = now_us + config_.period_us;
      }
      if (const auto lost = rules_.Tick(now_us, endpoint_.last_look_us())) {
        lock.unlock();
        on_lost_(lost->rank, lost->reason);
        lock.lock();
      }
      changed_.wait_for(lock, std::chrono::microseconds(config_.tick_us), [this] { return stopping_; });
    }
  }

  // mutex_ is held. One that does not take what it is sent is not sent more.
  void Beat() {
    for (size_t i = 0; i < peers_.size(); ++i) {
      if (under_way_[i]) continue;
      under_way_[i] = true;
      endpoint_.Send(peers_[i], kWatchChannel, {kHere}, nullptr, 0, [self = shared_from_this(), i] {
        std::lock_guard lock(self->mutex_);
        self->under_way_[i] = false;
      });
    }
  }

  MessageEndpoint& endpoint_;
  const std::vector<int> peers_;
  const HeartbeatConfig config_;
  const OnLost on_lost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<char> under_way_;  // GUARDED_BY(mutex_)
  HeartbeatRules rules_;         // GUARDED_BY(mutex_)
  bool stopping_ = false;        // GUARDED_BY(mutex_)
  std::thread thread_;
};

PeerWatch::PeerWatch(MessageEndpoint& endpoint, int rank, int size, const HeartbeatConfig& config,
                     OnLost on_lost)
    : state_(std::make_shared<State>(endpoint, PeersOf(rank, size), config, std::move(on_lost))) {
  state_->Start();
}

PeerWatch::~PeerWatch() { state_->Stop(); }

void PeerWatch::Hint() { state_->Hint(); }

}  // namespace penstock
