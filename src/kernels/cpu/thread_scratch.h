// ThreadScratch: memory of each thread of a team, kept from call to call.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "tensor/buffer.h"

namespace penstock {

class ThreadScratch {
 public:
  explicit ThreadScratch(int num_threads) : buffers_(num_threads) {}

  // Makes sure of `bytes` for every thread. Not while threads are using theirs.
  void Reserve(size_t bytes) {
    for (Buffer& buffer : buffers_) {
      if (buffer.size() < bytes) buffer = Buffer(bytes);
    }
  }

  // 64-byte aligned, of undefined content, for that thread only.
  void* Get(int thread_idx) const { return buffers_[thread_idx].data(); }

  // The same, at least `bytes` large: grows it where it is smaller. From that thread only.
  void* Get(int thread_idx, size_t bytes) {
    Buffer& buffer = buffers_[thread_idx];
    if (buffer.size() < bytes) buffer = Buffer(bytes);
    return buffer.data();
  }

  size_t bytes() const {
    size_t sum = 0;
    for (const Buffer& buffer : buffers_) sum += buffer.size();
    return sum;
  }

 private:
  std::vector<Buffer> buffers_;
};

}  // namespace penstock
