// SPDX-License-Identifier: Apache-2.0
#include "comm/message_frame.h"

#include <cstring>

#include "base/byte_reader.h"

namespace penstock {
namespace {

constexpr uint32_t kMagic = 0x4b545350;  // "PSTK"

template <typename T>
void WriteAt(std::byte* data, T value) {
  std::memcpy(data, &value, sizeof(T));
}

}  // namespace

void WriteFrame(const MessageFrame& frame, std::byte* out) {
  WriteAt(out, kMagic);
  WriteAt(out + 4, kFrameVersion);
  WriteAt(out + 8, frame.sequence);
  WriteAt(out + 16, frame.header_bytes);
  WriteAt(out + 24, frame.payload_bytes);
}

Result<MessageFrame> ReadFrame(std::span<const std::byte> message, const FrameLimits& limits) {
  ByteReader reader(message);
  ASSIGN_OR_RETURN(const auto magic, reader.Read<uint32_t>());
  if (magic != kMagic) return InvalidArgument("frame: magic {:#010x}, expected {:#010x}", magic, kMagic);
  ASSIGN_OR_RETURN(const auto version, reader.Read<uint32_t>());
  if (version != kFrameVersion) {
    return InvalidArgument("frame: version {}, expected {}", version, kFrameVersion);
  }
  MessageFrame frame;
  ASSIGN_OR_RETURN(frame.sequence, reader.Read<uint64_t>());
  ASSIGN_OR_RETURN(frame.header_bytes, reader.Read<uint64_t>());
  ASSIGN_OR_RETURN(frame.payload_bytes, reader.Read<uint64_t>());
  if (frame.sequence != limits.sequence) {
    return InvalidArgument("frame: message {}, expected {}", frame.sequence, limits.sequence);
  }
  if (frame.header_bytes > limits.header_capacity) {
    return InvalidArgument("frame: a header of {} bytes, expected {} at most", frame.header_bytes,
                           limits.header_capacity);
  }
  if (frame.header_bytes != reader.remaining()) {
    return InvalidArgument("frame: a header of {} bytes, got {}", frame.header_bytes, reader.remaining());
  }
  if (frame.payload_bytes > limits.payload_capacity) {
    return InvalidArgument("frame: a payload of {} bytes, expected {} at most", frame.payload_bytes,
                           limits.payload_capacity);
  }
  return frame;
}

}  // namespace penstock
