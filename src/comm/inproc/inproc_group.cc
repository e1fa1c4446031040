// SPDX-License-Identifier: Apache-2.0
#include "comm/inproc/inproc_group.h"

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <thread>

#include "base/check.h"

namespace penstock {
namespace {

constexpr size_t kSlots = 64;  // parts between two ranks that have begun and are not received
constexpr int kSpins = 500;    // some microseconds

// Returns when `counter` is at least `value`.
void AwaitAtLeast(const std::atomic<uint64_t>& counter, uint64_t value) {
  for (int i = 0; i < kSpins; ++i) {
    if (counter.load(std::memory_order_acquire) >= value) return;
    std::this_thread::yield();
  }
  for (uint64_t now; (now = counter.load(std::memory_order_acquire)) < value;) counter.wait(now);
}

void Raise(std::atomic<uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_acq_rel);
  counter.notify_all();
}

// From one rank to another.
struct Lane {
  struct Slot {
    const void* data;
    size_t bytes;
  };
  std::array<Slot, kSlots> slots;
  alignas(64) std::atomic<uint64_t> posted{0};
  alignas(64) std::atomic<uint64_t> taken{0};
};

struct Shared {
  explicit Shared(int size) : size(size), lanes(static_cast<size_t>(size) * size) {}
  Lane& From(int from, int to) { return lanes[static_cast<size_t>(from) * size + to]; }

  const int size;
  std::vector<Lane> lanes;
};

class InprocCommunicator : public Communicator {
 public:
  InprocCommunicator(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return shared_->size; }

  void Wait(Ticket ticket) override {
    CHECK_EQ(ticket, next_wait_) << "exchanges are waited for in order";
    ++next_wait_;
    Pending pending = std::move(pending_.front());
    pending_.pop_front();
    for (const RecvPart& recv : pending.recvs) Receive(recv);
    for (const auto& [peer, count] : pending.sent) AwaitAtLeast(shared_->From(rank_, peer).taken, count);
    spare_.push_back(std::move(pending));
  }

 protected:
  Ticket DoBegin(std::span<const SendPart> sends, std::span<const RecvPart> recvs) override {
    Pending pending = TakeSpare();
    for (const SendPart& send : sends) {
      CHECK(send.peer >= 0 && send.peer < size() && send.peer != rank_) << send.peer;
      Lane& lane = shared_->From(rank_, send.peer);
      const uint64_t idx = lane.posted.load(std::memory_order_relaxed);
      CHECK_LT(idx - lane.taken.load(std::memory_order_acquire), kSlots) << "parts begun and not received";
      lane.slots[idx % kSlots] = {send.data, send.bytes};
      Raise(lane.posted);
      pending.sent.push_back({send.peer, idx + 1});
    }
    pending.recvs.assign(recvs.begin(), recvs.end());
    pending_.push_back(std::move(pending));
    return next_ticket_++;
  }

 private:
  struct Pending {
    std::vector<RecvPart> recvs;
    std::vector<std::pair<int, uint64_t>> sent;  // peer, and the count of parts that it must have taken
  };

  // Memory is kept for the next exchange.
  Pending TakeSpare() {
    if (spare_.empty()) return {};
    Pending pending = std::move(spare_.back());
    spare_.pop_back();
    pending.sent.clear();
    return pending;
  }

  void Receive(const RecvPart& recv) {
    Lane& lane = shared_->From(recv.peer, rank_);
    const uint64_t idx = lane.taken.load(std::memory_order_relaxed);
    AwaitAtLeast(lane.posted, idx + 1);
    const Lane::Slot slot = lane.slots[idx % kSlots];
    CHECK_EQ(slot.bytes, recv.bytes) << "rank " << recv.peer << " to " << rank_;
    if (recv.bytes > 0) std::memcpy(recv.data, slot.data, recv.bytes);
    Raise(lane.taken);
  }

  const std::shared_ptr<Shared> shared_;
  const int rank_;
  std::deque<Pending> pending_;
  std::vector<Pending> spare_;
  Ticket next_ticket_ = 0;
  Ticket next_wait_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeInprocGroup(int size) {
  CHECK_GE(size, 1);
  auto shared = std::make_shared<Shared>(size);
  std::vector<std::unique_ptr<Communicator>> group;
  for (int rank = 0; rank < size; ++rank) group.push_back(std::make_unique<InprocCommunicator>(shared, rank));
  return group;
}

}  // namespace penstock
