// GPT-2's alphabet: the bytes that are printable in Latin-1 stand for themselves; the other 68, in order, are
// U+0100, U+0101, …  (" " is U+0120 "Ġ", "\n" is U+010A "Ċ").
//
// SPDX-License-Identifier: Apache-2.0
#include "text/token_table.h"

#include <algorithm>
#include <array>

#include "text/utf8.h"

namespace penstock {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

// Byte by code point, -1 outside the alphabet.
std::array<int, kAlphabetEnd> MakeAlphabet() {
  std::array<int, kAlphabetEnd> bytes;
  bytes.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) bytes[StandsForItself(byte) ? byte : next++] = byte;
  return bytes;
}

}  // namespace

std::string ByteLevelToBytes(std::string_view token) {
  static const std::array<int, kAlphabetEnd> kAlphabet = MakeAlphabet();
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const Utf8Char next = NextUtf8Char(token.substr(i));
    const auto at = [&](size_t k) { return static_cast<uint8_t>(token[i + k]); };
    // The alphabet's characters take one or two bytes of UTF-8.
    const int code_point = next.len == 1   ? at(0)
                           : next.len == 2 ? (at(0) & 0x1F) << 6 | (at(1) & 0x3F)
                                           : kAlphabetEnd;
    if (next.kind != Utf8Char::kValid || code_point >= kAlphabetEnd || kAlphabet[code_point] < 0) {
      return std::string(token);
    }
    bytes += static_cast<char>(kAlphabet[code_point]);
    i += next.len;
  }
  return bytes;
}

void TokenTable::Add(std::string_view spelling, bool known, bool special) {
  const std::string bytes = ByteLevelToBytes(spelling);
  entries_.push_back({static_cast<uint32_t>(spellings_.size()), static_cast<uint32_t>(spelling.size()),
                      static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(bytes.size()), known,
                      special});
  spellings_ += spelling;
  bytes_ += bytes;
  max_spelling_ = std::max(max_spelling_, spelling.size());
  max_bytes_ = std::max(max_bytes_, bytes.size());
  if (bytes.size() == 1) single_bytes_.set(static_cast<uint8_t>(bytes[0]));
}

std::string_view TokenTable::Spelling(int32_t id) const {
  if (!InRange(id)) return {};
  return std::string_view(spellings_).substr(entries_[id].spelling_begin, entries_[id].spelling_len);
}

std::string_view TokenTable::Bytes(int32_t id) const {
  if (!InRange(id)) return {};
  return std::string_view(bytes_).substr(entries_[id].bytes_begin, entries_[id].bytes_len);
}

}  // namespace penstock
