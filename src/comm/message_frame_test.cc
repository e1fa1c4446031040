// SPDX-License-Identifier: Apache-2.0
#include "comm/message_frame.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr FrameLimits kLimits{.sequence = 7, .header_capacity = 10, .payload_capacity = 100};

std::vector<std::byte> Message(const MessageFrame& frame) {
  std::vector<std::byte> message(kFrameBytes + frame.header_bytes);
  WriteFrame(frame, message.data());
  return message;
}

TEST(MessageFrameTest, ReadsWhatIsWritten) {
  const auto frame = ReadFrame(Message({7, 10, 100}), kLimits);
  ASSERT_TRUE(frame.ok()) << frame.status().message();
  EXPECT_EQ(frame->header_bytes, 10u);
  EXPECT_EQ(frame->payload_bytes, 100u);
}

TEST(MessageFrameTest, SaysWhatIsWrong) {
  const auto expect = [](std::vector<std::byte> message, const std::string& text) {
    const auto frame = ReadFrame(message, kLimits);
    ASSERT_FALSE(frame.ok()) << text;
    EXPECT_NE(frame.status().message().find(text), std::string::npos) << frame.status().message();
  };
  const std::vector<std::byte> good = Message({7, 10, 100});
  expect({good.begin(), good.begin() + 31}, "truncated");
  expect({good.begin(), good.end() - 1}, "a header of 10 bytes, got 9");
  auto other = good;
  other[0] = std::byte{1};
  expect(other, "magic");
  auto newer = good;
  newer[4] = std::byte{9};
  expect(newer, "version 9, expected 1");
  expect(Message({8, 10, 100}), "message 8, expected 7");
  expect(Message({7, 11, 100}), "a header of 11 bytes, expected 10 at most");
  expect(Message({7, 10, 101}), "a payload of 101 bytes, expected 100 at most");
  auto huge = good;
  for (size_t i = 16; i < 32; ++i) huge[i] = std::byte{0xff};
  expect(huge, "expected 10 at most");
}

}  // namespace
}  // namespace penstock
