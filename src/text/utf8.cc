// Table 3-7 of the Unicode standard: which second byte may follow which first byte; all later ones
// are 80..BF.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace penstock {

Utf8Char NextUtf8Char(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return {Utf8Char::kValid, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Char::kInvalid, 1};
  const size_t len = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const uint8_t second_low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t second_high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < len; ++i) {
    if (i == bytes.size()) return {Utf8Char::kIncomplete, i};
    const uint8_t low = i == 1 ? second_low : 0x80, high = i == 1 ? second_high : 0xBF;
    if (at(i) < low || at(i) > high) return {Utf8Char::kInvalid, i};
  }
  return {Utf8Char::kValid, len};
}

size_t AppendUtf8(std::string_view bytes, std::string& out) {
  size_t read = 0;
  while (read < bytes.size()) {
    const Utf8Char next = NextUtf8Char(bytes.substr(read));
    if (next.kind == Utf8Char::kIncomplete) break;
    out += next.kind == Utf8Char::kValid ? bytes.substr(read, next.len) : kReplacementChar;
    read += next.len;
  }
  return read;
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (AppendUtf8(bytes, out) < bytes.size()) out += kReplacementChar;
  return out;
}

}  // namespace penstock
