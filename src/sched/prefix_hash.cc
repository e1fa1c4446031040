// name(block i) = H(name(block i - 1) | tokens of block i), name(-1) = H'(salt). H and H' differ in one key
// word, so that no salt can be mistaken for a block.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/prefix_hash.h"

#include <cstring>
#include <random>
#include <vector>

namespace penstock {

BlockHash PrefixHasher::Root(std::string_view cache_salt) const {
  const SipKey root_key = {key_[0], ~key_[1]};
  return {SipHash128(root_key, std::as_bytes(std::span(cache_salt)))};
}

BlockHash PrefixHasher::Next(const BlockHash& parent, std::span<const TokenId> token_ids) const {
  std::vector<std::byte> message(sizeof parent.digest + token_ids.size_bytes());
  std::memcpy(message.data(), parent.digest.data(), sizeof parent.digest);
  std::memcpy(message.data() + sizeof parent.digest, token_ids.data(), token_ids.size_bytes());
  return {SipHash128(key_, message)};
}

SipKey RandomSipKey() {
  std::random_device device;
  auto word = [&] { return (static_cast<uint64_t>(device()) << 32) | device(); };
  return {word(), word()};
}

}  // namespace penstock
