// Buffer: owned, 64-byte aligned, zeroed memory. Large ones are mapped, so pages are taken when first
// touched, and ask for huge pages.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace penstock {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);  // throws nothing; CHECKs that the system has the address space
  // Memory that stays somebody else's, outlives this object, and is only read: a mapped file.
  static Buffer Borrow(std::span<const std::byte> memory);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  size_t size() const { return bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void Free();

  void* data_ = nullptr;
  size_t bytes_ = 0;
  enum class Kind { kAllocated, kMapped, kBorrowed } kind_ = Kind::kAllocated;
};

}  // namespace penstock
