// Case and classes beyond ASCII come from the C library's C.UTF-8 locale, which follows the Unicode tables;
// where it is missing, letters beyond ASCII have no case.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/unicode.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>

#include "text/utf8.h"

namespace penstock::jinja {
namespace {

locale_t Utf8Locale() {
  static const locale_t kLocale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return kLocale;
}

bool IsIn(char32_t c, std::string_view chars) {
  for (size_t i = 0, len = 0; i < chars.size(); i += len) {
    if (CharAt(chars.substr(i), len) == c) return true;
  }
  return false;
}

}  // namespace

char32_t CharAt(std::string_view text, size_t& len) {
  const Utf8Char next = NextUtf8Char(text);
  len = next.len;
  if (next.kind != Utf8Char::kValid) return 0xFFFD;
  const auto at = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  if (len == 1) return at(0);
  char32_t c = at(0) & (0x7Fu >> len);
  for (size_t i = 1; i < len; ++i) c = c << 6 | (at(i) & 0x3F);
  return c;
}

void AppendChar(char32_t c, std::string& out) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  const int num_more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[num_more] | c >> (6 * num_more));
  for (int i = num_more - 1; i >= 0; --i) out += static_cast<char>(0x80 | (c >> (6 * i) & 0x3F));
}

size_t CountChars(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

size_t ByteOfChar(std::string_view text, size_t index) {
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80 && index-- == 0) return i;
  }
  return text.size();
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
bool IsAlpha(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  return Utf8Locale() != nullptr && iswalpha_l(c, Utf8Locale()) != 0;
}
bool IsDigit(char32_t c) { return c >= '0' && c <= '9'; }
bool IsUpper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return Utf8Locale() != nullptr && iswupper_l(c, Utf8Locale()) != 0;
}
bool IsLower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return Utf8Locale() != nullptr && iswlower_l(c, Utf8Locale()) != 0;
}
bool IsPrintable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7F;
  if (IsSpace(c) || c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0xE000 && c < 0xF900)) return false;
  return Utf8Locale() != nullptr && iswprint_l(c, Utf8Locale()) != 0;
}
char32_t ToUpper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 0x20 : c;
  return Utf8Locale() != nullptr ? towupper_l(c, Utf8Locale()) : c;
}
char32_t ToLower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
  return Utf8Locale() != nullptr ? towlower_l(c, Utf8Locale()) : c;
}

std::string_view StripLeft(std::string_view text, const std::string* chars) {
  size_t len = 0;
  while (!text.empty()) {
    const char32_t c = CharAt(text, len);
    if (chars == nullptr ? !IsSpace(c) : !IsIn(c, *chars)) break;
    text.remove_prefix(len);
  }
  return text;
}

std::string_view StripRight(std::string_view text, const std::string* chars) {
  while (!text.empty()) {
    size_t begin = text.size() - 1, len = 0;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    const char32_t c = CharAt(text.substr(begin), len);
    if (chars == nullptr ? !IsSpace(c) : !IsIn(c, *chars)) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

}  // namespace penstock::jinja
