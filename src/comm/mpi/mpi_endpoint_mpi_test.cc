// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "comm/message_channel.h"
#include "comm/mpi/test_world.h"

namespace penstock {
namespace {

// What callbacks have counted, and waiting for it.
class Counter {
 public:
  void Add() {
    std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool Reaches(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;  // GUARDED_BY(mutex_)
};

std::vector<std::byte> Bytes(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unique_ptr<MessageEndpoint> MakeEndpoint() {
  return TestWorld().MakeEndpoint([](int peer, int channel, const Status& status) {
    ADD_FAILURE() << "peer " << peer << " channel " << channel << ": " << status.message();
  });
}

// All ranks are done with their endpoints.
void Settle() { EXPECT_TRUE(TestWorld().Share(OkStatus()).ok()); }

// Sizes on both sides of where MPI begins to ask before it sends.
constexpr size_t kSizes[] = {0, 1, 100, 70'000, 3'000'000, 5};

TEST(MpiEndpointTest, MessagesArriveInOrderOnEachChannel) {
  const int rank = TestWorld().rank(), size = TestWorld().size();
  constexpr int kMessages = 30;
  constexpr size_t kCapacity = 3'000'000;
  Counter arrived, sent;
  const auto endpoint = MakeEndpoint();
  const int from = (rank + size - 1) % size, to = (rank + 1) % size;
  std::vector<std::vector<char>> in(4, std::vector<char>(kCapacity)), out(kMessages);
  std::vector<int> next(2, 0);
  std::function<void(int, int)> post = [&](int channel, int buffer) {
    endpoint->PostReceive(from, channel, 32, in[buffer].data(), kCapacity,
                          [&, channel, buffer](std::span<const std::byte> header, size_t bytes) {
                            const int i = next[channel]++;
                            EXPECT_EQ(Text(header), "message " + std::to_string(i));
                            EXPECT_EQ(bytes, kSizes[i % std::size(kSizes)]);
                            EXPECT_TRUE(bytes == 0 || in[buffer][bytes - 1] == static_cast<char>(i + from));
                            post(channel, buffer);
                            arrived.Add();
                          });
  };
  for (int buffer = 0; buffer < 4; ++buffer) post(buffer / 2, buffer);  // two ahead on each channel
  for (int i = 0; i < kMessages; ++i) {
    out[i].assign(kSizes[i % std::size(kSizes)], static_cast<char>(i + rank));
    for (int channel = 0; channel < 2; ++channel) {
      endpoint->Send(to, channel, Bytes("message " + std::to_string(i)), out[i].data(), out[i].size(),
                     [&] { sent.Add(); });
    }
  }
  EXPECT_TRUE(arrived.Reaches(2 * kMessages));
  EXPECT_TRUE(sent.Reaches(2 * kMessages));
  Settle();
}

TEST(MpiEndpointTest, AChannelThatNobodyReadsHoldsUpNoOther) {
  const int rank = TestWorld().rank();
  Counter arrived, sent;
  std::vector<char> large(8'000'000), in(8'000'000);
  const auto endpoint = MakeEndpoint();
  if (rank == 0) {
    endpoint->Send(1, 0, {}, large.data(), large.size(), [&] { sent.Add(); });
    endpoint->Send(1, 1, Bytes("after"), nullptr, 0, nullptr);
    EXPECT_TRUE(sent.Reaches(1));
  } else if (rank == 1) {
    endpoint->PostReceive(0, 1, 16, nullptr, 0, [&](auto header, size_t) {
      EXPECT_EQ(Text(header), "after");
      arrived.Add();
    });
    EXPECT_TRUE(arrived.Reaches(1));
    endpoint->PostReceive(0, 0, 16, in.data(), in.size(), [&](auto, size_t) { arrived.Add(); });
    EXPECT_TRUE(arrived.Reaches(2));
  }
  Settle();
}

TEST(MpiEndpointTest, WhatIsLargerThanPostedIsAnErrorOfItsChannel) {
  const int rank = TestWorld().rank();
  Counter failed, arrived;
  std::string messages;
  const std::vector<char> payload(300);
  std::vector<char> in(200);
  const auto endpoint = TestWorld().MakeEndpoint([&](int peer, int channel, const Status& status) {
    messages += std::to_string(peer) + "/" + std::to_string(channel) + " " + status.message() + "\n";
    failed.Add();
  });
  if (rank == 0) {
    endpoint->Send(1, 3, {}, payload.data(), payload.size(), nullptr);
    endpoint->Send(1, 3, {}, nullptr, 0, nullptr);
    endpoint->Send(1, 4, std::vector<std::byte>(20), nullptr, 0, nullptr);
    endpoint->Send(1, 5, {}, payload.data(), 200, nullptr);
  } else if (rank == 1) {
    const auto never = [](auto, size_t) { ADD_FAILURE() << "delivered"; };
    endpoint->PostReceive(0, 3, 10, in.data(), 200, never);
    endpoint->PostReceive(0, 3, 10, in.data(), 200, never);
    EXPECT_TRUE(failed.Reaches(1));
    endpoint->PostReceive(0, 4, 10, nullptr, 0, never);
    EXPECT_TRUE(failed.Reaches(2));
    endpoint->PostReceive(0, 5, 10, in.data(), 200, [&](auto, size_t) { arrived.Add(); });
    EXPECT_TRUE(arrived.Reaches(1));
    EXPECT_EQ(messages,
              "0/3 a payload of more bytes than expected: 200 at most\n"
              "0/4 a header of more bytes than expected: 10 at most\n");
  }
  Settle();
}

TEST(MpiEndpointTest, CountsWhatItSends) {
  const auto endpoint = MakeEndpoint();
  Counter sent;
  const char payload[7] = {};
  if (TestWorld().rank() == 2) {
    endpoint->Send(3, 0, Bytes("abc"), payload, 7, [&] { sent.Add(); });
    EXPECT_TRUE(sent.Reaches(1));
    EXPECT_EQ(endpoint->sent_bytes(), 10u);
  }
  Settle();
}

}  // namespace
}  // namespace penstock
