// PackedImage: a packed weight as numbers and runs of bytes, so that it can be kept in a file and made again
// over that file's memory. What they mean is the business of the backend that packed it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace penstock {

struct PackedImage {
  std::vector<int64_t> numbers;                    // sizes, types
  std::vector<std::span<const std::byte>> memory;  // each 64-byte aligned; none: this weight cannot be kept
};

}  // namespace penstock
