// SPDX-License-Identifier: Apache-2.0
#include "tensor/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr size_t kMapBytes = size_t{1} << 20;  // at and above: mmap
constexpr size_t kPageBytes = 4096;

}  // namespace

Buffer::Buffer(size_t bytes) : bytes_(bytes), kind_(bytes >= kMapBytes ? Kind::kMapped : Kind::kAllocated) {
  if (bytes == 0) return;
  if (kind_ == Kind::kMapped) {
    bytes_ = RoundUp(bytes, kPageBytes);  // not to huge pages: experts of a few MiB would waste a third
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(data_ != MAP_FAILED) << "mmap of " << bytes_ << " bytes";
    madvise(data_, bytes_, MADV_HUGEPAGE);  // a hint: a refusal costs speed only
  } else {
    data_ = std::aligned_alloc(64, RoundUp<size_t>(bytes, 64));
    CHECK(data_ != nullptr) << "allocation of " << bytes << " bytes";
    std::memset(data_, 0, bytes);
  }
}

Buffer Buffer::Borrow(std::span<const std::byte> memory) {
  Buffer buffer;
  buffer.data_ = const_cast<std::byte*>(memory.data());
  buffer.bytes_ = memory.size();
  buffer.kind_ = Kind::kBorrowed;
  return buffer;
}

Buffer::~Buffer() { Free(); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      kind_(other.kind_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    kind_ = other.kind_;
  }
  return *this;
}

void Buffer::Free() {
  if (data_ == nullptr) return;
  if (kind_ == Kind::kMapped) munmap(data_, bytes_);
  if (kind_ == Kind::kAllocated) std::free(data_);
  data_ = nullptr;
}

}  // namespace penstock
