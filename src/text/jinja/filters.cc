// The filters on text and numbers, and the table of all.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "text/jinja/list_filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

Value Text(Call& call, std::string text) { return Value::MakeString(call.context(), std::move(text)); }

Value Upper(Call& call, const Value& value) {
  return Text(call, MapChars(ToStr(call.context(), value), ToUpper));
}
Value Lower(Call& call, const Value& value) {
  return Text(call, MapChars(ToStr(call.context(), value), ToLower));
}
Value CapitalizeFilter(Call& call, const Value& value) {
  return Text(call, Capitalize(ToStr(call.context(), value)));
}
Value ToString(Call& call, const Value& value) {
  return value.is_string() ? value : Text(call, ToStr(call.context(), value));
}

Value Title(Call& call, const Value& value) {
  const std::string text = ToStr(call.context(), value);
  std::string out;
  bool at_begin = true;
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(std::string_view(text).substr(i), len);
    AppendChar(at_begin ? ToUpper(c) : ToLower(c), out);
    at_begin = IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  }
  return Text(call, std::move(out));
}

Value Trim(Call& call, const Value& value) {
  if (!call.Bind({"chars"})) return Value();
  const std::string text = ToStr(call.context(), value);
  const std::string* chars = call.StringOrNull(0);
  return Text(call, std::string(StripRight(StripLeft(text, chars), chars)));
}

Value Replace(Call& call, const Value& value) {
  if (!call.Bind({"old", "new", "count"}, 2)) return Value();
  const std::string text = ToStr(call.context(), value);
  const std::string from = ToStr(call.context(), call.At(0)), to = ToStr(call.context(), call.At(1));
  return ReplaceAll(call.context(), text, from, to, call.IntAt(2, -1));
}

Value Indent(Call& call, const Value& value) {
  if (!call.Bind({"width", "first", "blank"})) return Value();
  Context& context = call.context();
  std::string indent;
  if (call.Has(0) && call.At(0).is_string()) {
    indent = call.At(0).string();
  } else {
    const Int width = call.IntAt(0, 4);
    if (width < 0 || width > 1000) context.Fail("indent() by {}", IntText(width));
    if (!context.failed()) indent.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = call.BoolAt(1, false), blank = call.BoolAt(2, false);
  // Jinja2 adds a newline and splits: one at the end of the text then stays.
  std::string text = ToStr(context, value);
  text += '\n';
  const std::vector<std::string_view> lines = SplitLines(text, false);
  std::string out;
  for (size_t i = 0; i < lines.size() && context.Step() && context.HasRoom(out.size()); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) out += indent;
    out += lines[i];
  }
  return Text(call, std::move(out));
}

Value Escape(Call& call, const Value& value) {
  const std::string text = ToStr(call.context(), value);
  if (!call.context().HasRoom(5 * text.size())) return Value();
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return Text(call, std::move(out));
}

Value UrlEncode(Call& call, const Value& value) {
  const std::string text = ToStr(call.context(), value);
  if (!call.context().HasRoom(3 * text.size())) return Value();
  std::string out;
  for (char c : text) {
    const bool safe = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                      std::string_view("_.-~/").find(c) != std::string_view::npos;
    if (safe)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
  }
  return Text(call, std::move(out));
}

Value WordCount(Call& call, const Value& value) {
  const std::string text = ToStr(call.context(), value);
  Int count = 0;
  bool in_word = false;
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(std::string_view(text).substr(i), len);
    const bool is_word = IsAlpha(c) || IsDigit(c) || c == '_';
    count += is_word && !in_word;
    in_word = is_word;
  }
  return Value(count);
}

Value Format(Call& call, const Value& value) { return PercentFormat(call, ToStr(call.context(), value)); }

Value ToJson(Call& call, const Value& value) {
  if (!call.Bind({"ensure_ascii", "indent", "separators", "sort_keys"})) return Value();
  Context& context = call.context();
  JsonStyle style;
  style.ensure_ascii = call.BoolAt(0, false);
  style.sort_keys = call.BoolAt(3, false);
  if (call.Has(1) && !call.At(1).is_none()) {
    style.pretty = true;
    style.item_separator = ",";
    const Int width = call.At(1).is_string() ? 0 : std::max(call.IntAt(1, 0), Int{0});
    if (width > 1000) context.Fail("tojson(indent={})", IntText(width));
    if (context.failed()) return Value();
    style.indent =
        call.At(1).is_string() ? call.At(1).string() : std::string(static_cast<size_t>(width), ' ');
  }
  if (call.Has(2) && !call.At(2).is_none()) {
    const Value& pair = call.At(2);
    if (!pair.is_sequence() || pair.items().size() != 2 || !pair.items()[0].is_string() ||
        !pair.items()[1].is_string()) {
      context.Fail("tojson(separators=…) needs two strings");
      return Value();
    }
    style.item_separator = pair.items()[0].string();
    style.key_separator = pair.items()[1].string();
  }
  return Text(call, JsonDumps(context, value, style));
}

// The number that `text` spells, as Python's int() or float() reads it.
std::optional<double> ParseFloat(std::string_view text) {
  text = StripRight(StripLeft(text, nullptr), nullptr);
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}
std::optional<Int> ParseInt(std::string_view text, int base) {
  text = StripRight(StripLeft(text, nullptr), nullptr);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const char prefix = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
  if (prefix != '\0' && text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == prefix)
    text.remove_prefix(2);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? -Int{number} : Int{number};
}

Value ToInt(Call& call, const Value& value) {
  if (!call.Bind({"default", "base"})) return Value();
  const Value otherwise = call.Has(0) ? call.At(0) : Value(Int{0});
  const Int base = call.IntAt(1, 10);
  if (value.is_int() || value.is_bool()) return Value(value.integer());
  std::optional<double> number;
  if (value.is_string() && base >= 2 && base <= 36) {
    if (const std::optional<Int> integer = ParseInt(value.string(), static_cast<int>(base)))
      return Value(*integer);
    number = ParseFloat(value.string());
  } else if (value.is_float()) {
    number = value.number();
  }
  return number && std::abs(*number) < 1e30 ? Value(static_cast<Int>(*number)) : otherwise;
}

Value ToFloat(Call& call, const Value& value) {
  if (!call.Bind({"default"})) return Value();
  if (value.is_number()) return Value(value.number());
  const std::optional<double> number = value.is_string() ? ParseFloat(value.string()) : std::nullopt;
  return number ? Value(*number) : call.Has(0) ? call.At(0) : Value(0.0);
}

Value Abs(Call& call, const Value& value) {
  if (value.is_float()) return Value(std::abs(value.number()));
  if (value.is_number() && value.integer() >= 0) return Value(value.integer());
  return Negate(call.context(), value);
}

Value Round(Call& call, const Value& value) {
  if (!call.Bind({"precision", "method"})) return Value();
  Context& context = call.context();
  const Int precision = call.IntAt(0, 0);
  const std::string method = call.StringAt(1, "common");
  if (!value.is_number() || precision < -300 || precision > 300)
    context.Fail("round() of {}", value.type_name());
  if (method != "common" && method != "ceil" && method != "floor") context.Fail("round(method='{}')", method);
  if (context.failed()) return Value();
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(value.number() * scale) / scale);
  if (method == "floor") return Value(std::floor(value.number() * scale) / scale);
  if (precision < 0) return Value(std::nearbyint(value.number() * scale) / scale);
  const std::string text =
      fmt::format("{:.{}f}", value.number(), static_cast<int>(precision));  // correctly rounded
  double rounded = value.number();
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return value.is_float() ? Value(rounded) : Value(value.integer());
}

Value Default(Call& call, const Value& value) {
  if (!call.Bind({"default_value", "boolean"})) return Value();
  const bool missing = value.is_undefined() || (call.BoolAt(1, false) && !value.Truthy());
  if (!missing) return value;
  return call.Has(0) ? call.At(0) : Text(call, "");
}

Value Same(Call&, const Value& value) { return value; }

}  // namespace

Filter FindFilter(std::string_view name) {
  static const std::map<std::string_view, Filter> kFilters = [] {
    std::map<std::string_view, Filter> filters = {{"abs", Abs},
                                                  {"capitalize", CapitalizeFilter},
                                                  {"d", Default},
                                                  {"default", Default},
                                                  {"e", Escape},
                                                  {"escape", Escape},
                                                  {"float", ToFloat},
                                                  {"format", Format},
                                                  {"indent", Indent},
                                                  {"int", ToInt},
                                                  {"lower", Lower},
                                                  {"replace", Replace},
                                                  {"round", Round},
                                                  {"safe", Same},
                                                  {"string", ToString},
                                                  {"title", Title},
                                                  {"tojson", ToJson},
                                                  {"trim", Trim},
                                                  {"upper", Upper},
                                                  {"urlencode", UrlEncode},
                                                  {"wordcount", WordCount}};
    AddListFilters(filters);
    return filters;
  }();
  const auto found = kFilters.find(name);
  return found == kFilters.end() ? nullptr : found->second;
}

}  // namespace penstock::jinja
