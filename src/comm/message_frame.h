// MessageFrame: what stands before a message's header on the wire.
//
//   byte  0  magic "PSTK"      4
//         4  version           u32, kFrameVersion
//         8  sequence number   u64, from 0 for each channel of a pair of ranks
//        16  header bytes      u64
//        24  payload bytes     u64
//
// All in the machine's own byte order; penstock runs on one kind of machine at a time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"

namespace penstock {

constexpr size_t kFrameBytes = 32;
constexpr uint32_t kFrameVersion = 1;

struct MessageFrame {
  uint64_t sequence = 0;
  uint64_t header_bytes = 0;
  uint64_t payload_bytes = 0;
};

// out: kFrameBytes.
void WriteFrame(const MessageFrame& frame, std::byte* out);

struct FrameLimits {
  uint64_t sequence = 0;  // the number that is due
  uint64_t header_capacity = 0;
  uint64_t payload_capacity = 0;
};

// message: a frame and its header, as received. Error: what is not as it must be: magic, version, number,
// lengths.
Result<MessageFrame> ReadFrame(std::span<const std::byte> message, const FrameLimits& limits);

}  // namespace penstock
