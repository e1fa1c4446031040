// Text as Python sees it: by characters, with Python's notion of white space, letters and case.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::jinja {

// The character at the front of `text`, which is not empty; `len` is its bytes. U+FFFD for a wrong byte.
char32_t CharAt(std::string_view text, size_t& len);
void AppendChar(char32_t c, std::string& out);
size_t CountChars(std::string_view text);
// The byte where character `index` begins; the size of `text` if there are not so many.
size_t ByteOfChar(std::string_view text, size_t index);

bool IsSpace(char32_t c);
bool IsAlpha(char32_t c);
bool IsDigit(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsPrintable(char32_t c);
// One character to one: "ß" stays, where Python's upper() gives "SS".
char32_t ToUpper(char32_t c);
char32_t ToLower(char32_t c);

// Without the characters at its ends that are in `chars`; white space if that is null.
std::string_view StripLeft(std::string_view text, const std::string* chars);
std::string_view StripRight(std::string_view text, const std::string* chars);

}  // namespace penstock::jinja
