// For tests: MessageEndpoints whose processes are in one process. A message stays with its sender until the
// other side has posted a receive for it, as a large one does with MPI.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "comm/message_channel.h"

namespace penstock::testing {

class FakeNetwork {
 public:
  // Must be gone before the network.
  std::unique_ptr<MessageEndpoint> MakeEndpoint(int process, MessageEndpoint::OnError on_error) {
    return std::make_unique<Endpoint>(*this, process, std::move(on_error));
  }

 private:
  struct Message {
    std::vector<std::byte> header;
    const void* payload;
    size_t payload_bytes;
    MessageEndpoint::OnSent on_sent;
  };
  struct Posted {
    size_t header_capacity;
    void* payload;
    size_t payload_capacity;
    MessageEndpoint::OnArrival on_arrival;
  };
  struct Channel {
    std::deque<Message> sent;
    std::deque<Posted> posted;
  };

  class Endpoint : public MessageEndpoint {
   public:
    Endpoint(FakeNetwork& network, int process, OnError on_error)
        : network_(network), process_(process), on_error_(std::move(on_error)) {
      std::lock_guard lock(network_.mutex_);
      network_.endpoints_[process_] = this;
      thread_ = std::thread([this] {
        while (auto call = calls_.Pop()) (*call)();
      });
    }
    ~Endpoint() override {
      {
        std::lock_guard lock(network_.mutex_);
        network_.endpoints_.erase(process_);
      }
      calls_.Close();
      thread_.join();
    }

    void Send(int peer, int channel, std::vector<std::byte> header, const void* payload, size_t payload_bytes,
              OnSent on_sent) override {
      sent_bytes_ += header.size() + payload_bytes;
      std::lock_guard lock(network_.mutex_);
      network_.channels_[{process_, peer, channel}].sent.push_back(
          {std::move(header), payload, payload_bytes, std::move(on_sent)});
      network_.Match(process_, peer, channel);
    }
    void PostReceive(int peer, int channel, size_t header_capacity, void* payload, size_t payload_capacity,
                     OnArrival on_arrival) override {
      std::lock_guard lock(network_.mutex_);
      network_.channels_[{peer, process_, channel}].posted.push_back(
          {header_capacity, payload, payload_capacity, std::move(on_arrival)});
      network_.Match(peer, process_, channel);
    }
    int64_t last_look_us() const override { return std::numeric_limits<int64_t>::max(); }
    uint64_t sent_bytes() const override { return sent_bytes_; }

    void Call(std::function<void()> call) { calls_.Push(std::move(call)); }
    void Fail(int peer, int channel, const Status& status) {
      Call([=, this] { on_error_(peer, channel, status); });
    }

   private:
    FakeNetwork& network_;
    const int process_;
    const OnError on_error_;
    std::atomic<uint64_t> sent_bytes_{0};
    BoundedQueue<std::function<void()>> calls_{std::numeric_limits<size_t>::max()};
    std::thread thread_;
  };

  // With mutex_ held. Callbacks run on the endpoints' threads.
  void Match(int from, int to, int channel_idx) {
    Channel& channel = channels_[{from, to, channel_idx}];
    while (!channel.sent.empty() && !channel.posted.empty() && endpoints_.contains(to)) {
      Message message = std::move(channel.sent.front());
      Posted posted = std::move(channel.posted.front());
      channel.sent.pop_front();
      channel.posted.pop_front();
      if (message.header.size() > posted.header_capacity || message.payload_bytes > posted.payload_capacity) {
        endpoints_[to]->Fail(from, channel_idx, InvalidArgument("more bytes than expected"));
        return;
      }
      if (message.payload_bytes > 0) std::memcpy(posted.payload, message.payload, message.payload_bytes);
      endpoints_[to]->Call([header = std::move(message.header), bytes = message.payload_bytes,
                            on_arrival = std::move(posted.on_arrival)] { on_arrival(header, bytes); });
      if (message.on_sent && endpoints_.contains(from)) endpoints_[from]->Call(std::move(message.on_sent));
    }
  }

  std::mutex mutex_;
  std::map<int, Endpoint*> endpoints_;                     // GUARDED_BY(mutex_)
  std::map<std::tuple<int, int, int>, Channel> channels_;  // GUARDED_BY(mutex_): from, to, channel
};

}  // namespace penstock::testing
