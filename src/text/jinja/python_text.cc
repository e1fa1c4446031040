// Every piece that is written costs steps and is checked against the room that is left.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

void AppendStringRepr(std::string_view text, std::string& out) {
  const bool double_quoted =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quoted ? '"' : '\'';
  out += quote;
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(text.substr(i), len);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c)) {
      out += text.substr(i, len);
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c))
             : c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c))
                           : fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

void AppendJsonString(std::string_view text, bool ensure_ascii, std::string& out) {
  out += '"';
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(text.substr(i), len);
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    if (const size_t k = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : std::string_view::npos;
        k != std::string_view::npos) {
      out += '\\';
      out += kLetters[k];
    } else if (c < 0x20 || (ensure_ascii && c > 0x7E && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (ensure_ascii && c >= 0x10000) {
      out += fmt::format("\\u{:04x}\\u{:04x}", static_cast<uint32_t>(0xD7C0 + (c >> 10)),
                         static_cast<uint32_t>(0xDC00 + (c & 0x3FF)));
    } else {
      out += text.substr(i, len);
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(Context& context, const JsonStyle& style) : context_(context), style_(style) {}

  void Write(const Value& value, int level) {
    const Context::Deeper deeper(context_);
    if (!context_.Step() || !context_.HasRoom(out_.size())) return;
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.boolean() ? "true" : "false";
    } else if (value.is_int()) {
      out_ += IntText(value.integer());
    } else if (value.is_float()) {
      out_ += Number(value.number());
    } else if (value.is_string()) {
      WriteString(value.string());
    } else if (value.is_list()) {
      WriteList(value.items(), level);
    } else if (value.is_dict()) {
      WriteDict(*value.dict(), level);
    } else {
      context_.Fail("Object of type {} is not JSON serializable", value.type_name());
    }
  }
  std::string Take() { return std::move(out_); }

 private:
  static std::string Number(double number) {
    return std::isnan(number)   ? "NaN"
           : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity")
                                : FloatRepr(number);
  }
  void WriteString(const std::string& text) {
    if (context_.StepBytes(text.size()) && context_.HasRoom(out_.size() + text.size())) {
      AppendJsonString(text, style_.ensure_ascii, out_);
    }
  }
  void NewLine(int level) {
    if (!style_.pretty || !context_.HasRoom(out_.size() + style_.indent.size() * level)) return;
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }
  void WriteList(const Items& items, int level) {
    out_ += '[';
    for (size_t i = 0; i < items.size() && !context_.failed(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_ += ']';
  }
  // Python turns keys that are numbers, bools and None into strings.
  std::string KeyText(const Value& key) {
    if (key.is_string()) return key.string();
    if (key.is_bool()) return key.boolean() ? "true" : "false";
    if (key.is_none()) return "null";
    if (key.is_int()) return IntText(key.integer());
    if (key.is_float()) return Number(key.number());
    context_.Fail("keys must be str, int, float, bool or None, not {}", key.type_name());
    return "";
  }
  void WriteDict(const Dict& dict, int level) {
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : dict.entries) entries.emplace_back(KeyText(key), &value);
    if (style_.sort_keys)
      std::ranges::stable_sort(entries, {},
                               [](const auto& entry) -> const std::string& { return entry.first; });
    out_ += '{';
    for (size_t i = 0; i < entries.size() && !context_.failed(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      WriteString(entries[i].first);
      out_ += style_.key_separator;
      Write(*entries[i].second, level + 1);
    }
    if (!entries.empty()) NewLine(level);
    out_ += '}';
  }

  Context& context_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

std::string IntText(Int integer) { return fmt::format("{}", integer); }

// The shortest digits that read back as `number`; with an exponent below 1e-4 and from 1e16 on.
std::string FloatRepr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[64];
  const char* end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, end - buffer);
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits = text.data() + e + 1;
  std::from_chars(digits + (*digits == '+' ? 1 : 0), end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);  // to_chars writes "1e-05" as Python does
  end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::fixed).ptr;
  std::string fixed(buffer, end - buffer);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

void AppendRepr(Context& context, const Value& value, std::string& out) {
  const Context::Deeper deeper(context);
  if (!context.Step() || !context.HasRoom(out.size())) return;
  if (value.is_string()) {
    if (!context.StepBytes(value.string().size()) || !context.HasRoom(out.size() + value.string().size()))
      return;
    AppendStringRepr(value.string(), out);
  } else if (value.is_list()) {
    if (!value.is_sequence()) {
      out += "<generator>";
      return;
    }
    const bool is_tuple = value.is_tuple();
    out += is_tuple ? '(' : '[';
    for (size_t i = 0; i < value.items().size() && !context.failed(); ++i) {
      if (i > 0) out += ", ";
      AppendRepr(context, value.items()[i], out);
    }
    if (is_tuple && value.items().size() == 1) out += ',';
    out += is_tuple ? ')' : ']';
  } else if (value.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [key, entry] : value.dict()->entries) {
      if (context.failed()) break;
      if (!std::exchange(first, false)) out += ", ";
      AppendRepr(context, key, out);
      out += ": ";
      AppendRepr(context, entry, out);
    }
    out += '}';
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    out += ToStr(context, value);
  }
}

std::string ToStr(Context& context, const Value& value) {
  if (value.is_string()) return value.string();
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_int()) return IntText(value.integer());
  if (value.is_float()) return FloatRepr(value.number());
  if (value.is_list() || value.is_dict()) {
    std::string out;
    AppendRepr(context, value, out);
    return out;
  }
  return fmt::format("<{}>", value.type_name());
}

std::string JsonDumps(Context& context, const Value& value, const JsonStyle& style) {
  JsonWriter writer(context, style);
  writer.Write(value, 0);
  return writer.Take();
}

}  // namespace penstock::jinja
