// ByteReader: the one bounds-checked reader of little-endian binary data from files and sockets.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/status.h"

namespace penstock {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t remaining() const { return bytes_.size() - pos_; }
  size_t pos() const { return pos_; }

  // The next sizeof(T) bytes as T. kInvalidArgument if fewer are left.
  template <typename T>
  Result<T> Read() {
    static_assert(std::is_trivially_copyable_v<T>);
    if (remaining() < sizeof(T)) return Truncated(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + pos_, sizeof(T));
    pos_ += sizeof(T);
    return value;
  }

  // The next `size` bytes, not copied.
  Result<std::span<const std::byte>> ReadBytes(uint64_t size) {
    if (remaining() < size) return Truncated(size);
    auto bytes = bytes_.subspan(pos_, size);
    pos_ += size;
    return bytes;
  }

 private:
  Status Truncated(uint64_t wanted) const {
    return InvalidArgument("truncated: {} bytes wanted at offset {}, {} left", wanted, pos_, remaining());
  }

  std::span<const std::byte> bytes_;
  size_t pos_ = 0;
};

}  // namespace penstock
