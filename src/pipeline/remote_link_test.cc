// Messages in pieces, and what arrives that makes no sense.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/remote_link.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "comm/testing/fake_network.h"
#include "pipeline/testing/fake_pipeline.h"

namespace penstock {
namespace {

using testing::FakeNetwork;
using testing::MakeChunk;
using testing::Prompt;

using Bytes = std::vector<std::byte>;

Bytes Piece(int kind, size_t size, int value = 0) {
  Bytes piece(1 + size, static_cast<std::byte>(value));
  piece[0] = static_cast<std::byte>(kind);
  return piece;
}

TEST(MessageAssemblerTest, PiecesBecomeMessages) {
  MessageAssembler assembler;
  EXPECT_FALSE(assembler.Add(Piece(1, 3, 7)).value().has_value());
  EXPECT_FALSE(assembler.Add(Piece(1, 0)).value().has_value());
  auto message = assembler.Add(Piece(0, 2, 8)).value();
  ASSERT_TRUE(message.has_value());
  EXPECT_FALSE(message->is_close);
  EXPECT_EQ(message->bytes, (Bytes{std::byte{7}, std::byte{7}, std::byte{7}, std::byte{8}, std::byte{8}}));
  message = assembler.Add(Piece(0, 1, 9)).value();  // nothing is left of the last one
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->bytes, Bytes{std::byte{9}});
  message = assembler.Add(Piece(2, 0)).value();
  ASSERT_TRUE(message.has_value());
  EXPECT_TRUE(message->is_close);
}

TEST(MessageAssemblerTest, WhatMakesNoSense) {
  MessageAssembler assembler;
  EXPECT_EQ(assembler.Add({}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(assembler.Add(Piece(3, 0)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(assembler.Add(Piece(255, 9)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(assembler.Add(Piece(1, 3)).value().has_value());
  EXPECT_EQ(assembler.Add(Piece(2, 0)).status().code(), StatusCode::kInvalidArgument);  // amid a message
}

TEST(MessageAssemblerTest, MessagesAreBounded) {
  MessageAssembler assembler;
  const Bytes piece = Piece(1, MessageAssembler::kPieceBytes);
  size_t pieces = 0;
  while (assembler.Add(piece).ok()) ASSERT_LE(++pieces, kMaxHeaderBytes / MessageAssembler::kPieceBytes);
  EXPECT_EQ(pieces, kMaxHeaderBytes / MessageAssembler::kPieceBytes);
}

class RemoteLinkTest : public ::testing::Test {
 protected:
  static constexpr int kChannel = 5;

  LinkError OnError() {
    return [this](const Status& status) { error_.set_value(status); };
  }
  Status NextError() {
    auto future = error_.get_future();
    CHECK(future.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    return future.get();
  }

  std::promise<Status> error_;
  FakeNetwork network_;
  std::unique_ptr<MessageEndpoint> a_ = network_.MakeEndpoint(0, {}), b_ = network_.MakeEndpoint(1, {});
  const RemoteEnd to_{a_.get(), 1, kChannel}, from_{b_.get(), 0, kChannel};
};

TEST_F(RemoteLinkTest, MessagesOfAnyLength) {
  BoundedQueue<Bytes> arrived(100);
  std::promise<void> closed;
  ReceiveMessages(
      from_, [&](std::span<const std::byte> bytes) { arrived.Push({bytes.begin(), bytes.end()}); }, OnError(),
      [&] { closed.set_value(); });
  constexpr size_t kPiece = MessageAssembler::kPieceBytes;
  for (const size_t size :
       {size_t{0}, size_t{1}, kPiece - 1, kPiece, kPiece + 1, 3 * kPiece, 3 * kPiece + 5}) {
    Bytes sent(size);
    for (size_t i = 0; i < size; ++i) sent[i] = static_cast<std::byte>(i * 7 + i / 251);
    SendMessage(to_, sent, nullptr, 0, {});
    EXPECT_EQ(arrived.Pop(), sent) << size;
  }
  SendClose(to_);
  closed.get_future().wait();
  SendMessage(to_, Bytes(3), nullptr, 0, {});  // nobody listens any more
  EXPECT_FALSE(arrived.PopFor(1000).has_value());
}

TEST_F(RemoteLinkTest, MessagesThatMakeNoSenseAreErrors) {
  std::atomic<int> count = 0;
  ReceiveMessages(from_, [&](std::span<const std::byte>) { ++count; }, OnError());
  a_->Send(1, kChannel, Piece(9, 4), nullptr, 0, {});
  EXPECT_EQ(NextError().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(count, 0);
}

TEST_F(RemoteLinkTest, PacketsThatMakeNoSenseAreErrors) {
  const auto inlet = MakeRemoteInlet(from_, OnError());
  inlet->Return(Buffer(64));
  SendMessage(to_, Bytes(5), nullptr, 0, {});
  EXPECT_NE(NextError().message().find("a step from another rank"), std::string::npos);
}

// The rows go into a buffer of the receiver's; the sender's is free when they are there.
TEST_F(RemoteLinkTest, PacketsArriveWithTheirRows) {
  const auto head = std::make_shared<FirstInlet>();
  const auto inlet = MakeRemoteInlet(from_, OnError());
  const auto outlet = MakeRemoteOutlet(to_, head, /*is_synchronous=*/false);
  for (int i = 0; i < 3; ++i) inlet->Return(Buffer(4096));
  for (int i = 0; i < 8; ++i) {  // more than there are buffers
    StagePacket packet;
    packet.step = testing::MakeStep(i + 1, {MakeChunk(1, Prompt(40, i), 0, 30)});
    // In several pieces, each of which takes a buffer for a while.
    packet.step->chunks[0].sample.emplace();
    packet.step->chunks[0].sample->prompt_ids.assign(200'000, i);
    packet.hidden = Buffer(4096);
    packet.own_rows = Mat(packet.hidden.as<float>() + 2, DType::kF32, i % 3, 2);
    for (int r = 0; r < i % 3; ++r) packet.own_rows.Row<float>(r)[1] = static_cast<float>(10 * i + r);
    outlet->Push(std::move(packet));
  }
  outlet->Close();
  for (int i = 0; i < 8; ++i) {
    std::optional<StagePacket> packet = inlet->Pop();
    ASSERT_TRUE(packet.has_value());
    EXPECT_EQ(packet->step->step_id, static_cast<uint64_t>(i + 1));
    EXPECT_EQ(packet->step->chunks[0].sample->prompt_ids.size(), 200'000u);
    EXPECT_TRUE(packet->hidden_is_own_rows);
    for (int r = 0; r < i % 3; ++r) EXPECT_EQ(packet->hidden.as<float>()[2 * r + 1], 10 * i + r);
    inlet->Return(std::move(packet->hidden));
  }
  EXPECT_FALSE(inlet->Pop().has_value());
}

// Where nobody receives, nothing is taken from the sender but its own buffers.
TEST_F(RemoteLinkTest, AnInletTakesNoMorePacketsThanItHasBuffers) {
  const auto inlet = MakeRemoteInlet(from_, OnError());
  const auto head = std::make_shared<FirstInlet>();
  const auto outlet = MakeRemoteOutlet(to_, head, /*is_synchronous=*/true);
  inlet->Return(Buffer(64));
  std::atomic<int> sent = 0;
  std::thread sender([&] {
    for (int i = 0; i < 3; ++i, ++sent) {
      StagePacket packet;
      packet.step = testing::MakeStep(i + 1, {});
      packet.hidden = Buffer(64);
      outlet->Push(std::move(packet));
    }
  });
  for (int i = 0; i < 3; ++i) {
    std::optional<StagePacket> packet = inlet->Pop();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_LE(sent, i + 1);  // Push() of the next waits until the buffer is back
    inlet->Return(std::move(packet->hidden));
  }
  sender.join();
  EXPECT_EQ(sent, 3);
}

}  // namespace
}  // namespace penstock
