// PrefixHasher: names for whole blocks of tokens together with everything before them. Two blocks have the
// same name only where salt, all earlier tokens and their own tokens are equal: the hash is 128 bits wide and
// keyed with a secret of this process, so that nobody can construct a prompt that is served another's keys
// and values.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "plan/sampling_params.h"
#include "sched/sip_hash.h"

namespace penstock {

struct BlockHash {
  SipDigest digest = {};
  bool operator==(const BlockHash&) const = default;
};

struct BlockHashHasher {
  size_t operator()(const BlockHash& hash) const { return hash.digest[0]; }
};

class PrefixHasher {
 public:
  explicit PrefixHasher(const SipKey& key) : key_(key) {}

  // The parent of a sequence's first block.
  BlockHash Root(std::string_view cache_salt) const;
  // The block that holds `token_ids` and comes after `parent`.
  BlockHash Next(const BlockHash& parent, std::span<const TokenId> token_ids) const;

 private:
  SipKey key_;
};

// A key from the system's source of random numbers.
SipKey RandomSipKey();

}  // namespace penstock
