// Two states: outside of tags, where text runs to the next "{{", "{%" or "{#"; and inside, where the end of
// the tag counts only while no bracket is open ("{{ {'a': {}} }}").
//
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (c & 0x80) != 0;
}
bool IsDigitByte(char c) { return c >= '0' && c <= '9'; }
bool IsSpaceByte(char c) { return IsSpace(static_cast<uint8_t>(c)) && (c & 0x80) == 0; }

// "\r\n" and "\r" to "\n", and without one newline at the end.
std::string NormalizeNewlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> Run() {
    while (pos_ < source_.size()) RETURN_IF_ERROR(Text());
    Add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(pos_); }
  char Peek(size_t ahead = 0) const { return pos_ + ahead < source_.size() ? source_[pos_ + ahead] : '\0'; }
  void Advance(size_t len) {
    line_ += static_cast<int>(std::ranges::count(Rest().substr(0, len), '\n'));
    pos_ += len;
  }
  void Add(Token::Kind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }
  Status Error(std::string_view what) const {
    return InvalidArgument("chat template, line {}: {}", line_, what);
  }

  // Text up to the next tag, and that tag.
  Status Text() {
    size_t begin = source_.find('{', pos_);
    while (begin != std::string::npos && begin + 1 < source_.size() &&
           std::string_view("{%#").find(source_[begin + 1]) == std::string_view::npos) {
      begin = source_.find('{', begin + 1);
    }
    if (begin == std::string::npos || begin + 1 >= source_.size()) {
      AddText(Rest(), '\0', false);
      Advance(Rest().size());
      return OkStatus();
    }
    const char type = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    AddText(Rest().substr(0, begin - pos_), sign, type != '{');
    Advance(begin + 2 - pos_ + (sign == '-' || sign == '+' ? 1 : 0));
    if (type == '#') return Comment();
    if (type == '%' && AtRaw()) return Raw();
    Add(type == '{' ? Token::Kind::kOutputBegin : Token::Kind::kBlockBegin, "");
    return Tag(type == '{' ? "}}" : "%}");
  }

  // Text before a tag with `sign` after its bracket: "-" takes the white space before it; a block tag takes
  // that of its own line, unless by "+".
  void AddText(std::string_view text, char sign, bool is_block) {
    if (sign == '-') {
      text = StripRight(text, nullptr);
    } else if (sign != '+' && is_block) {
      const size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
      const bool at_line_begin = line_begin > 0 || line_starting_;
      if (at_line_begin && StripLeft(text.substr(line_begin), nullptr).empty())
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) Add(Token::Kind::kText, std::string(text));
  }

  // After "-%}" all white space goes, after "%}" one newline.
  void EndTag(size_t len, char sign, bool trims_newline) {
    Advance(len);
    const size_t begin = pos_;
    if (sign == '-') {
      Advance(Rest().size() - StripLeft(Rest(), nullptr).size());
    } else if (sign != '+' && trims_newline && Peek() == '\n') {
      Advance(1);
    }
    line_starting_ = pos_ > begin && source_[pos_ - 1] == '\n';
  }

  Status Comment() {
    const size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) return Error("a comment without an end");
    const char sign = end > pos_ ? source_[end - 1] : '\0';
    EndTag(end + 2 - pos_, sign, true);
    return OkStatus();
  }

  // Is this tag {% raw %} ?
  bool AtRaw() const {
    std::string_view rest = StripLeft(Rest(), nullptr);
    if (!rest.starts_with("raw")) return false;
    rest = StripLeft(rest.substr(3), nullptr);
    return rest.starts_with("%}") || rest.starts_with("-%}");
  }

  Status Raw() {
    const size_t end = source_.find("%}", pos_);
    EndTag(end + 2 - pos_, source_[end - 1], false);
    for (size_t begin = source_.find("{%", pos_); begin != std::string::npos;
         begin = source_.find("{%", begin + 2)) {
      std::string_view inside = std::string_view(source_).substr(begin + 2);
      const char sign = inside.empty() ? '\0' : inside[0];
      if (sign == '-' || sign == '+') inside.remove_prefix(1);
      inside = StripLeft(inside, nullptr);
      if (!inside.starts_with("endraw")) continue;
      inside = StripLeft(inside.substr(6), nullptr);
      const char end_sign = inside.empty() ? '\0' : inside[0];
      if (end_sign == '-' || end_sign == '+') inside.remove_prefix(1);
      if (!inside.starts_with("%}")) continue;
      AddText(Rest().substr(0, begin - pos_), sign, true);
      EndTag(inside.data() + 2 - (source_.data() + pos_), end_sign, true);
      return OkStatus();
    }
    return Error("{% raw %} without {% endraw %}");
  }

  Status Tag(std::string_view end) {
    std::string brackets;
    const bool is_block = end == "%}";
    while (pos_ < source_.size()) {
      const char c = Peek();
      if (brackets.empty()) {
        const bool signed_end = (c == '-' || (c == '+' && is_block)) && Rest().substr(1).starts_with(end);
        if (signed_end || Rest().starts_with(end)) {
          Add(is_block ? Token::Kind::kBlockEnd : Token::Kind::kOutputEnd, "");
          EndTag(end.size() + (signed_end ? 1 : 0), signed_end ? c : '\0', is_block);
          return OkStatus();
        }
      }
      if (IsSpaceByte(c)) {
        Advance(1);
      } else if (IsDigitByte(c)) {
        Number();
      } else if (IsNameByte(c)) {
        const size_t begin = pos_;
        while (pos_ < source_.size() && IsNameByte(source_[pos_])) ++pos_;
        Add(Token::Kind::kName, source_.substr(begin, pos_ - begin));
      } else if (c == '\'' || c == '"') {
        RETURN_IF_ERROR(QuotedString(c));
      } else {
        RETURN_IF_ERROR(Operator(brackets));
      }
    }
    return Error("a tag without an end");
  }

  Status Operator(std::string& brackets) {
    const auto found =
        std::ranges::find_if(kOperators, [&](std::string_view op) { return Rest().starts_with(op); });
    if (found == kOperators.end()) return Error(fmt::format("unexpected character '{}'", Peek()));
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') brackets += c;
    if (c == ')' || c == ']' || c == '}') {
      const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (brackets.empty() || brackets.back() != open) return Error(fmt::format("unexpected '{}'", c));
      brackets.pop_back();
    }
    Add(Token::Kind::kOperator, std::string(*found));
    Advance(found->size());
    return OkStatus();
  }

  void Number() {
    const size_t begin = pos_;
    const char base = static_cast<char>(Peek(1) | 0x20);
    bool is_float = false;
    if (Peek() == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      pos_ += 2;
      while (IsNameByte(Peek()) && (Peek() & 0x80) == 0) ++pos_;
    } else {
      const auto digits = [&] {
        while (IsDigitByte(Peek()) || (Peek() == '_' && IsDigitByte(Peek(1)))) ++pos_;
      };
      digits();
      if (Peek() == '.' && IsDigitByte(Peek(1))) {
        is_float = true;
        ++pos_;
        digits();
      }
      const size_t sign = Peek(1) == '+' || Peek(1) == '-' ? 1 : 0;
      if ((Peek() | 0x20) == 'e' && IsDigitByte(Peek(1 + sign))) {
        is_float = true;
        pos_ += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(begin, pos_ - begin);
    std::erase(text, '_');
    Add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(text));
  }

  Status QuotedString(char quote) {
    const int begin_line = line_;
    Advance(1);
    std::string text;
    while (pos_ < source_.size() && Peek() != quote) {
      if (Peek() == '\\') {
        Escape(text);
      } else {
        text += Peek();
        Advance(1);
      }
    }
    if (pos_ == source_.size()) return Error("a string without an end");
    Advance(1);
    tokens_.push_back({Token::Kind::kString, begin_line, std::move(text)});
    return OkStatus();
  }

  // As Python's string literals; an unknown escape stays as it is.
  void Escape(std::string& text) {
    static constexpr std::string_view kLetters = "ntrabfv\\'\"", kMeanings = "\n\t\r\a\b\f\v\\'\"";
    const char c = Peek(1);
    if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
      text += kMeanings[i];
      Advance(2);
      return;
    }
    if (c == '\n') return Advance(2);
    const size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    const size_t begin = num_digits > 0 ? 2 : 1, max_digits = num_digits > 0 ? num_digits : 3;
    const unsigned base = num_digits > 0 ? 16 : 8;
    char32_t code_point = 0;
    size_t len = 0;
    for (; len < max_digits; ++len) {
      const char d = Peek(begin + len);
      const unsigned digit = IsDigitByte(d)                           ? d - '0'
                             : (d | 0x20) >= 'a' && (d | 0x20) <= 'f' ? (d | 0x20) - 'a' + 10
                                                                      : 99;
      if (digit >= base) break;
      code_point = code_point * base + digit;
    }
    if (len == 0 || (num_digits > 0 && len < num_digits)) {
      text += '\\';
      return Advance(1);
    }
    AppendChar(code_point, text);
    Advance(begin + len);
  }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace penstock::jinja
