// Looks at the few bytes around a place only, so that it never has to know where a cut-up text began.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/text_cutter.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/check.h"

namespace penstock {
namespace {

bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool Continues(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// A letter begins at `pos`: ASCII, or a CJK ideograph of U+5000…U+8FFF.
bool LetterBegins(std::string_view text, size_t pos) {
  const uint8_t c = static_cast<uint8_t>(text[pos]);
  if (c < 0xE5 || c > 0xE8) return IsAsciiLetter(text[pos]);
  return pos + 2 < text.size() && Continues(text[pos + 1]) && Continues(text[pos + 2]);
}

// The character that ends before `pos` is visible for sure: printable ASCII, or of U+3001…U+FFEF (three
// bytes).
bool VisibleEnds(std::string_view text, size_t pos) {
  if (pos == 0) return false;
  if (text[pos - 1] > ' ' && text[pos - 1] < 0x7F) return true;
  if (pos < 3 || !Continues(text[pos - 2]) || !Continues(text[pos - 1])) return false;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint32_t code_point =
      (at(pos - 3) & 0x0Fu) << 12 | (at(pos - 2) & 0x3Fu) << 6 | (at(pos - 1) & 0x3Fu);
  return (at(pos - 3) & 0xF0) == 0xE0 && code_point > 0x3000 && code_point < 0xFE00;
}

}  // namespace

bool IsCut(std::string_view text, size_t pos, const CutRules& rules) {
  if (pos == 0 || pos >= text.size()) return false;
  if (text[pos - 1] == '\n')
    return rules.after_newline && LetterBegins(text, pos) && VisibleEnds(text, pos - 1);
  return rules.before_space && text[pos] == ' ' && IsAsciiLetter(text[pos - 1]) && pos + 1 < text.size() &&
         IsAsciiLetter(text[pos + 1]);
}

std::vector<std::string_view> CutText(std::string_view text, size_t piece_bytes, const CutRules& rules) {
  CHECK_GE(piece_bytes, 1u);
  std::vector<std::string_view> pieces;
  size_t begin = 0;
  for (size_t pos = piece_bytes; pos < text.size(); ++pos) {
    if (!IsCut(text, pos, rules)) continue;
    pieces.push_back(text.substr(begin, pos - begin));
    begin = pos;
    pos += piece_bytes - 1;
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

std::string SelfTestText() {
  static constexpr std::string_view kFragments[] = {"the",
                                                    "Hello",
                                                    "I'm",
                                                    "they'LL",
                                                    "x",
                                                    "naïve",
                                                    "ÜBER",
                                                    "don't",
                                                    "A",
                                                    "tokenisation",
                                                    "HTTPServer",
                                                    "snake_case_name",
                                                    "camelCaseName",
                                                    "3",
                                                    "1234567",
                                                    "3.14",
                                                    "v2",
                                                    "0xFF",
                                                    ".",
                                                    "...",
                                                    "!?",
                                                    "(x)",
                                                    "foo();",
                                                    "//",
                                                    "/* c */",
                                                    "#include",
                                                    "{",
                                                    "}",
                                                    "=>",
                                                    "a.b.c",
                                                    "\"quoted\"",
                                                    "'single'",
                                                    "s",
                                                    "'",
                                                    "`",
                                                    "你好世界",
                                                    "中文。",
                                                    "日本語テキスト",
                                                    "カナ",
                                                    "한국어",
                                                    "Привет",
                                                    "שלום",
                                                    "مرحبا",
                                                    "नमस्ते",
                                                    "😀",
                                                    "👩‍👩‍👧",
                                                    "é",
                                                    "e\xCC\x81",
                                                    "ﬁ",
                                                    "™",
                                                    "　",
                                                    "<tag>",
                                                    "</s>",
                                                    "[INST]",
                                                    "&amp;",
                                                    "$x^2$",
                                                    "\\n",
                                                    "%d",
                                                    "--",
                                                    "—"};
  static constexpr std::string_view kSeparators[] = {" ",  " ",    " ",  "\n",   "\n",  "\n",  "",     "",
                                                     "  ", "\n\n", "\t", "\r\n", " \n", "\n ", "    ", ", "};
  std::string text;
  uint32_t state = 12345;  // a linear congruential generator: the same text on every machine
  const auto draw = [&](size_t count) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % count;
  };
  while (text.size() < 10000) {
    text += kFragments[draw(std::size(kFragments))];
    text += kSeparators[draw(std::size(kSeparators))];
  }
  return text;
}

}  // namespace penstock
