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

Buffer::Buffer(size_t bytes) : bytes_(bytes), mapped_(bytes >= kMapBytes) {
  if (bytes == 0) return;
  if (mapped_) {
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

Buffer::~Buffer() { Free(); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      mapped_(other.mapped_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    mapped_ = other.mapped_;
  }
  return *this;
}

void Buffer::Free() {
  if (data_ == nullptr) return;
  if (mapped_)
    munmap(data_, bytes_);
  else
    std::free(data_);
  data_ = nullptr;
}

}  // namespace penstock
