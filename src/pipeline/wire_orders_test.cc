// SPDX-License-Identifier: Apache-2.0
#include "pipeline/wire.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Wire, OrdersAndCountersComeBackAsTheyWere) {
  const Order order{.replica = 2, .kind = Order::Kind::kCount, .seq = 3, .last_step_id = 4, .question = 5};
  const Order read = DecodeOrder(EncodeOrder(order)).value();
  EXPECT_EQ(read.replica, 2);
  EXPECT_EQ(read.kind, Order::Kind::kCount);
  EXPECT_EQ(read.seq, 3u);
  EXPECT_EQ(read.last_step_id, 4u);
  EXPECT_EQ(read.question, 5u);
  CountersAnswer answer{.question = 7, .counters = {.expert_tokens = {{}, {1, 2, 3}}, .ep_bytes = 9}};
  const CountersAnswer back = DecodeCounters(EncodeCounters(answer)).value();
  EXPECT_EQ(back.question, 7u);
  EXPECT_EQ(back.counters, answer.counters);
}

TEST(Wire, RefusesWhatMakesNoSense) {
  Order order;
  order.kind = Order::Kind{9};
  EXPECT_EQ(DecodeOrder(EncodeOrder(order)).status().message(), "an order of kind 9");
  std::vector<std::byte> bytes = EncodeCounters({.question = 1, .counters = {.expert_tokens = {{1, 2}}}});
  bytes.pop_back();
  EXPECT_FALSE(DecodeCounters(bytes).ok());
  bytes[8] = std::byte{0xff};  // layers
  bytes[11] = std::byte{0xff};
  EXPECT_FALSE(DecodeCounters(bytes).ok());
}

}  // namespace
}  // namespace penstock
