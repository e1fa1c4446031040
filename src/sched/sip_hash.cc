// The message is read in words of eight little-endian bytes, two rounds each; the last word holds what is
// left and, in its top byte, the length modulo 256. Four rounds give each half of the output.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/sip_hash.h"

#include <bit>
#include <cstring>

namespace penstock {
namespace {

static_assert(std::endian::native == std::endian::little);

struct SipState {
  uint64_t v0, v1, v2, v3;

  explicit SipState(const SipKey& key)
      : v0(key[0] ^ 0x736f6d6570736575),
        v1(key[1] ^ 0x646f72616e646f6d ^ 0xee),
        v2(key[0] ^ 0x6c7967656e657261),
        v3(key[1] ^ 0x7465646279746573) {}

  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }

  void Absorb(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }

  uint64_t Squeeze() {
    for (int i = 0; i < 4; ++i) Round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

SipDigest SipHash128(const SipKey& key, std::span<const std::byte> message) {
  SipState state(key);
  const size_t num_whole_bytes = message.size() / 8 * 8;
  for (size_t i = 0; i < num_whole_bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, message.data() + i, 8);
    state.Absorb(word);
  }
  uint64_t last = static_cast<uint64_t>(message.size()) << 56;
  for (size_t i = num_whole_bytes; i < message.size(); ++i) {
    last |= static_cast<uint64_t>(message[i]) << (8 * (i - num_whole_bytes));
  }
  state.Absorb(last);

  SipDigest digest;
  state.v2 ^= 0xee;
  digest[0] = state.Squeeze();
  state.v1 ^= 0xdd;
  digest[1] = state.Squeeze();
  return digest;
}

}  // namespace penstock
