// UTF-8 from bytes that arrive in pieces and may be wrong.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace penstock {

// The length of the UTF-8 character at the front of `bytes`, which is not empty.
struct Utf8Char {
  enum Kind { kValid, kInvalid, kIncomplete } kind;
  size_t len;  // kInvalid: the bytes that one U+FFFD stands for (the "maximal subpart" of Unicode 3.9);
               // kIncomplete: all of `bytes`, which more bytes could complete
};
Utf8Char NextUtf8Char(std::string_view bytes);

// Appends to `out` the characters of `bytes`, U+FFFD for what is wrong, and returns the number of bytes read:
// all but an incomplete character at the end (at most 3 bytes).
size_t AppendUtf8(std::string_view bytes, std::string& out);

// The same with the end known: an incomplete character at the end is one U+FFFD.
std::string ToValidUtf8(std::string_view bytes);

inline constexpr std::string_view kReplacementChar = "\xEF\xBF\xBD";

}  // namespace penstock
