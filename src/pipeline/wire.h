// What processes say to each other, as bytes: a step, what is known of its result and the little else that
// travels with them; orders, and what was counted.
//
// Fixed binary fields in the order of wire.cc, little-endian; the frame around them carries the version
// (comm/message_frame.h). Every count is checked against what is left, and against the limits below, before
// memory is taken.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "pipeline/packet.h"
#include "plan/rank_counters.h"
#include "plan/step.h"

namespace penstock {

// All of a packet but its hidden states; whether there are rows of them to come (of a step with fewer tokens
// than ranks there may be none for this one) is in hidden_is_own_rows.
std::vector<std::byte> EncodePacket(const StagePacket& packet);
Result<StagePacket> DecodePacket(std::span<const std::byte> bytes);

std::vector<std::byte> EncodeResult(const StepResult& result);
Result<StepResult> DecodeResult(std::span<const std::byte> bytes);

// What process 0 tells the workers of a replica.
struct Order {
  enum class Kind : uint8_t { kCancel, kStop, kCount };
  int32_t replica = 0;
  Kind kind = Kind::kCancel;
  SeqId seq = 0;  // kCancel: of its chunks in steps up to last_step_id
  uint64_t last_step_id = 0;
  uint64_t question = 0;  // kCount: the answer has it too
};
std::vector<std::byte> EncodeOrder(const Order& order);
Result<Order> DecodeOrder(std::span<const std::byte> bytes);

// What a worker answers to kCount.
struct CountersAnswer {
  uint64_t question = 0;
  RankCounters counters;
};
std::vector<std::byte> EncodeCounters(const CountersAnswer& answer);
Result<CountersAnswer> DecodeCounters(std::span<const std::byte> bytes);

}  // namespace penstock
