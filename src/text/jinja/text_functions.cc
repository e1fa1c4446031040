// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/text_functions.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

constexpr int kMaxWidth = 1000;  // of a formatted number

// One "%…" of a format: flags, width, precision and conversion.
struct Spec {
  std::string flags;
  int width = 0;
  int precision = -1;
  char conversion = '\0';
};

// Reads the spec that begins at `pos`, after the "%".
Spec ReadSpec(std::string_view format, size_t& pos) {
  Spec spec;
  const auto number = [&] {
    int value = 0;
    while (pos < format.size() && IsDigit(format[pos]))
      value = std::min(value * 10 + (format[pos++] - '0'), kMaxWidth + 1);
    return value;
  };
  while (pos < format.size() && std::string_view("-+ 0#").find(format[pos]) != std::string_view::npos)
    spec.flags += format[pos++];
  spec.width = number();
  if (pos < format.size() && format[pos] == '.') {
    ++pos;
    spec.precision = number();
  }
  if (pos < format.size()) spec.conversion = format[pos++];
  return spec;
}

std::string Pad(std::string text, const Spec& spec, bool is_number) {
  const size_t len = CountChars(text), width = static_cast<size_t>(spec.width);
  if (len >= width) return text;
  if (spec.flags.find('-') != std::string::npos) return text + std::string(width - len, ' ');
  if (!is_number || spec.flags.find('0') == std::string::npos) return std::string(width - len, ' ') + text;
  text.insert(text.starts_with('-') || text.starts_with('+') ? 1 : 0, width - len, '0');
  return text;
}

std::string FormatOne(Context& context, const Spec& spec, const Value& value) {
  if (spec.width > kMaxWidth || spec.precision > kMaxWidth) {
    context.Fail("a width over {} in a format", kMaxWidth);
    return "";
  }
  switch (spec.conversion) {
    case 's':
    case 'r': {
      std::string text;
      if (spec.conversion == 's')
        text = ToStr(context, value);
      else
        AppendRepr(context, value, text);
      if (spec.precision >= 0) text.resize(ByteOfChar(text, spec.precision));
      return Pad(std::move(text), spec, false);
    }
    case 'd':
    case 'i':
    case 'x':
    case 'X': {
      if (!value.is_number() || (value.is_float() && !(std::abs(value.number()) < 1e30))) break;
      const Int integer = value.is_float() ? static_cast<Int>(value.number()) : value.integer();
      std::string text = spec.conversion == 'x'   ? fmt::format("{:x}", integer)
                         : spec.conversion == 'X' ? fmt::format("{:X}", integer)
                                                  : IntText(integer);
      if (integer >= 0 && spec.flags.find('+') != std::string::npos) text.insert(0, 1, '+');
      return Pad(std::move(text), spec, true);
    }
    case 'f':
    case 'e':
    case 'g': {
      if (!value.is_number()) break;
      const int precision = spec.precision < 0 ? 6 : spec.precision;
      std::string text = spec.conversion == 'f'   ? fmt::format("{:.{}f}", value.number(), precision)
                         : spec.conversion == 'e' ? fmt::format("{:.{}e}", value.number(), precision)
                                                  : fmt::format("{:.{}g}", value.number(), precision);
      if (value.number() >= 0 && spec.flags.find('+') != std::string::npos) text.insert(0, 1, '+');
      return Pad(std::move(text), spec, true);
    }
    default:
      break;
  }
  context.Fail("'%{}' of a format cannot be used for {}", spec.conversion, value.type_name());
  return "";
}

}  // namespace

std::string MapChars(std::string_view text, char32_t (*map)(char32_t)) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(text.substr(i), len);
    if (c == U'ß' && map == ToUpper) {
      out += "SS";  // the one letter of common use whose capital is two
    } else {
      AppendChar(map(c), out);
    }
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return "";
  size_t len = 0;
  CharAt(text, len);
  return MapChars(text.substr(0, len), ToUpper) + MapChars(text.substr(len), ToLower);
}

Value ReplaceAll(Context& context, std::string_view text, std::string_view from, std::string_view to,
                 Int max_count) {
  if (!context.StepBytes(text.size())) return Value();
  std::string out;
  size_t begin = 0;
  for (Int count = 0; max_count < 0 || count < max_count; ++count) {
    size_t end = text.find(from, begin);
    if (from.empty()) end = begin;  // before every character, and at the end
    if (end == std::string_view::npos || !context.Step()) break;
    out += text.substr(begin, end - begin);
    out += to;
    begin = end + from.size();
    if (!context.HasRoom(out.size())) return Value();
    if (from.empty()) {
      if (begin == text.size()) return Value::MakeString(context, std::move(out));
      size_t len = 0;
      CharAt(text.substr(begin), len);
      out += text.substr(begin, len);
      begin += len;
    }
  }
  if (!context.HasRoom(out.size() + text.size() - begin)) return Value();
  out += text.substr(begin);
  return Value::MakeString(context, std::move(out));
}

Value PercentFormat(Call& call, std::string_view format) {
  Context& context = call.context();
  std::string out;
  size_t next = 0, num_named = 0;
  for (size_t pos = 0; pos < format.size() && context.Step() && context.HasRoom(out.size());) {
    const char c = format[pos++];
    if (c != '%') {
      out += c;
    } else if (pos < format.size() && format[pos] == '%') {
      out += format[pos++];
    } else {
      const Value* value = nullptr;
      if (pos < format.size() && format[pos] == '(') {  // "%(name)s"
        const size_t end = format.find(')', pos);
        const std::string name(format.substr(pos + 1, end == std::string_view::npos ? end : end - pos - 1));
        pos = end == std::string_view::npos ? format.size() : end + 1;
        for (const auto& [key, keyword] : call.keyword) value = key == name ? &keyword : value;
        if (value == nullptr && call.positional.size() == 1 && call.positional[0].is_dict()) {
          value = call.positional[0].dict()->Find(std::string_view(name));
        }
        ++num_named;
      } else if (next < call.positional.size()) {
        value = &call.positional[next++];
      }
      if (value == nullptr) {
        context.Fail("not enough arguments for a format");
        return Value();
      }
      out += FormatOne(context, ReadSpec(format, pos), *value);
    }
  }
  if (num_named == 0 && next < call.positional.size()) context.Fail("not all arguments are used by a format");
  return Value::MakeString(context, std::move(out));
}

Value BraceFormat(Call& call, std::string_view format) {
  Context& context = call.context();
  std::string out;
  size_t next = 0;
  for (size_t pos = 0; pos < format.size() && context.Step() && context.HasRoom(out.size());) {
    const char c = format[pos++];
    if ((c == '{' || c == '}') && pos < format.size() && format[pos] == c) {
      out += c;
      ++pos;
    } else if (c != '{') {
      out += c;
    } else {
      const size_t end = format.find('}', pos);
      const std::string_view field = format.substr(pos, end == std::string_view::npos ? end : end - pos);
      if (end == std::string_view::npos || field.find_first_of(":!.[") != std::string_view::npos) {
        context.Fail("format() knows only {{}}, {{0}} and {{name}}");
        return Value();
      }
      pos = end + 1;
      const Value* value = nullptr;
      if (field.empty() || IsDigit(field[0])) {
        const size_t i = field.empty()
                             ? next++
                             : std::min<size_t>(std::stoul("0" + std::string(field.substr(0, 6))), 1 << 20);
        if (i < call.positional.size()) value = &call.positional[i];
      }
      for (const auto& [key, keyword] : call.keyword) value = key == field ? &keyword : value;
      if (value == nullptr) {
        context.Fail("format() has no argument '{}'", field);
        return Value();
      }
      out += ToStr(context, *value);
    }
  }
  return Value::MakeString(context, std::move(out));
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(text.substr(i), len);
    const bool ends =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    const size_t line_end = i;
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++len;
    lines.push_back(text.substr(begin, (keep_ends ? i + len : line_end) - begin));
    begin = i + len;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace penstock::jinja
