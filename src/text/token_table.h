// TokenTable: the vocabulary by id, in two arenas: as it is spelled ("Ġhello") and the bytes that stands for
// (" hello"). Private to src/text.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class TokenTable {
 public:
  // Tokens are added in the order of their ids; an id without a token has `known` false.
  void Add(std::string_view spelling, bool known, bool special);

  int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  bool Known(int32_t id) const { return InRange(id) && entries_[id].known; }
  bool IsSpecial(int32_t id) const { return InRange(id) && entries_[id].special; }
  // Empty for an unknown id.
  std::string_view Spelling(int32_t id) const;
  std::string_view Bytes(int32_t id) const;
  // The longest token, in bytes that it stands for, and as it is spelled.
  size_t max_bytes() const { return max_bytes_; }
  size_t max_spelling() const { return max_spelling_; }
  // Is each of the 256 bytes a token?
  bool HasAllBytes() const { return single_bytes_.all(); }

 private:
  struct Entry {
    uint32_t spelling_begin, spelling_len;
    uint32_t bytes_begin, bytes_len;
    bool known, special;
  };
  bool InRange(int32_t id) const { return id >= 0 && id < size(); }

  std::vector<Entry> entries_;
  std::string spellings_;
  std::string bytes_;
  size_t max_bytes_ = 0;
  size_t max_spelling_ = 0;
  std::bitset<256> single_bytes_;
};

// The bytes of a token in the byte-level alphabet of GPT-2, in which each byte is one printable character;
// the token's own bytes if it holds a character outside that alphabet (as Hugging Face's decoder has it).
std::string ByteLevelToBytes(std::string_view token);

}  // namespace penstock
