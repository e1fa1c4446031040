// The progress thread: begins what others have asked for, looks what MPI has done, sleeps.
//
// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi_endpoint.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "comm/message_frame.h"
#include "comm/mpi/mpi_wait.h"
#include "comm/mpi/transfer_set.h"

namespace penstock {
namespace {

// Naps grow from short ones. A look costs whoever computes on the same core some 20 us in a virtual machine,
// so that a steady 200 us between looks made steps a sixth longer.
constexpr int64_t kShortNapUs = 20;
constexpr int64_t kMovingNapUs = 100;  // while bytes are on their way
constexpr int64_t kLongNapUs = 200;    // at least, where nothing moves; then an eighth of the silence
constexpr int64_t kIdleNapUs = 1000;   // at most: less than 2 % of a core
constexpr int64_t kLastSendsUs = 1'000'000;
constexpr unsigned long kTimerSlackNs = 1000;  // the default, 50 us, is more than a short nap

class MpiEndpoint : public MessageEndpoint {
 public:
  MpiEndpoint(MPI_Comm parent, OnError on_error)
      : comm_(Duplicate(parent)),
        transfers_(comm_, std::move(on_error)),
        last_look_us_(NowUs()),
        thread_([this] { Progress(); }) {}

  ~MpiEndpoint() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
    // comm_ stays until MPI ends: a peer's message may be on its way, and MPI knows no end of a communicator
    // that it does not wait for.
  }

  void Send(int peer, int channel, std::vector<std::byte> header, const void* payload, size_t payload_bytes,
            OnSent on_sent) override {
    sent_bytes_.fetch_add(header.size() + payload_bytes, std::memory_order_relaxed);
    auto transfer = Make(peer, channel, header.size(), payload_bytes);
    std::copy(header.begin(), header.end(), transfer->frame.begin() + kFrameBytes);
    transfer->is_send = true;
    transfer->payload = const_cast<void*>(payload);
    transfer->on_sent = std::move(on_sent);
    Enqueue(std::move(transfer));
  }

  void PostReceive(int peer, int channel, size_t header_capacity, void* payload, size_t payload_capacity,
                   OnArrival on_arrival) override {
    auto transfer = Make(peer, channel, header_capacity, payload_capacity);
    transfer->payload = payload;
    transfer->on_arrival = std::move(on_arrival);
    Enqueue(std::move(transfer));
  }

  int64_t last_look_us() const override { return last_look_us_.load(std::memory_order_relaxed); }
  uint64_t sent_bytes() const override { return sent_bytes_.load(std::memory_order_relaxed); }

 private:
  static MPI_Comm Duplicate(MPI_Comm parent) {
    MPI_Comm comm = MPI_COMM_NULL;
    CheckMpi(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
    CheckMpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    return comm;
  }

  static std::unique_ptr<Transfer> Make(int peer, int channel, size_t header_bytes, size_t payload_bytes) {
    CHECK(channel >= 0 && channel < kMaxChannels) << channel;
    CHECK_LE(header_bytes, kMaxHeaderBytes);
    CHECK_LE(payload_bytes, kMaxPayloadBytes);
    auto transfer = std::make_unique<Transfer>();
    transfer->peer = peer;
    transfer->channel = channel;
    transfer->frame.resize(kFrameBytes + header_bytes);
    transfer->payload_bytes = payload_bytes;
    return transfer;
  }

  void Enqueue(std::unique_ptr<Transfer> transfer) {
    {
      std::lock_guard lock(mutex_);
      asked_.push_back(std::move(transfer));
    }
    changed_.notify_one();
  }

  void Progress() {
    pthread_setname_np(pthread_self(), "progress");
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
    std::vector<std::unique_ptr<Transfer>> begun;
    int64_t nap_us = kShortNapUs;
    int64_t busy_us = NowUs();  // when there was something to do last
    int64_t stop_us = INT64_MAX;
    for (;;) {
      bool any = transfers_.Look();
      for (auto& transfer : begun) {
        any |= transfer->channel != kWatchChannel;
        transfers_.Begin(std::move(transfer));
      }
      begun.clear();
      const int64_t now_us = NowUs();
      last_look_us_.store(now_us, std::memory_order_relaxed);
      if (now_us >= stop_us || (stop_us != INT64_MAX && !transfers_.sending())) break;
      if (any || transfers_.moving()) busy_us = now_us;
      const int64_t longest_us =
          transfers_.moving() ? kMovingNapUs : std::clamp((now_us - busy_us) / 8, kLongNapUs, kIdleNapUs);
      nap_us = any ? kShortNapUs : std::min(nap_us + nap_us / 4, longest_us);
      std::unique_lock lock(mutex_);
      if (!any) {
        changed_.wait_for(lock, std::chrono::microseconds(nap_us), [this] { return !asked_.empty(); });
      }
      begun.swap(asked_);
      if (stopping_ && begun.empty() && stop_us == INT64_MAX) stop_us = now_us + kLastSendsUs;
    }
    transfers_.Cancel();
  }

  const MPI_Comm comm_;
  TransferSet transfers_;  // of the progress thread
  std::atomic<int64_t> last_look_us_;
  std::atomic<uint64_t> sent_bytes_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Transfer>> asked_;  // GUARDED_BY(mutex_)
  bool stopping_ = false;                         // GUARDED_BY(mutex_)
  std::thread thread_;
};

}  // namespace

std::unique_ptr<MessageEndpoint> MakeMpiEndpoint(MPI_Comm parent, MessageEndpoint::OnError on_error) {
  return std::make_unique<MpiEndpoint>(parent, std::move(on_error));
}

}  // namespace penstock
