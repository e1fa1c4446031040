// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a
// keyed hash whose collisions cannot be found without the key.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

using SipKey = std::array<uint64_t, 2>;
using SipDigest = std::array<uint64_t, 2>;  // little-endian: [0] holds the first eight bytes of the output

SipDigest SipHash128(const SipKey& key, std::span<const std::byte> message);

}  // namespace penstock
