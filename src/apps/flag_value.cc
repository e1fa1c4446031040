// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_value.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr std::string_view kSizeHint =
    "an integer; k m g t multiply by powers of 1000, K M G T by powers of 1024";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

template <typename T>
bool FromChars(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// 1, 2, 3, 4 for k, m, g, t of either case; 0 for another character.
int SuffixPower(char c) {
  const size_t power =
      std::string_view("kmgt").find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  return power == std::string_view::npos ? 0 : static_cast<int>(power) + 1;
}

// Replaces 80m by 80000000 outside of strings.
Result<std::string> ExpandSizes(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string || !IsDigit(text[i]) || (i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1])))) {
      if (in_string && text[i] == '\\' && i + 1 < text.size())
        out += text[i++];
      else if (text[i] == '"')
        in_string = !in_string;
      out += text[i];
      continue;
    }
    size_t end = i;
    while (end < text.size() && (IsDigit(text[end]) || text[end] == '.')) ++end;
    const bool has_suffix =
        end < text.size() && SuffixPower(text[end]) != 0 &&
        (end + 1 == text.size() || !std::isalnum(static_cast<unsigned char>(text[end + 1])));
    if (has_suffix) {
      ASSIGN_OR_RETURN(const int64_t size, ParseSize(text.substr(i, end + 1 - i)));
      out += std::to_string(size);
      i = end;
    } else {
      out += text.substr(i, end - i);
      i = end - 1;
    }
  }
  return out;
}

// Any case: --log-level INFO is as good as info.
bool IsChoice(std::string_view choices, std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  for (size_t begin = 0; begin <= choices.size();) {
    const size_t end = std::min(choices.find('|', begin), choices.size());
    if (choices.substr(begin, end - begin) == text) return true;
    begin = end + 1;
  }
  return false;
}

Status CheckBounds(const FlagSpec& spec, double value, const std::string& text) {
  if (spec.kind == FlagKind::kSizeOrAuto && value == -1) return OkStatus();
  if (value >= spec.min && value <= spec.max) return OkStatus();
  if (std::isinf(spec.max)) return InvalidArgument("got {}, expected at least {}", text, spec.min);
  return InvalidArgument("got {}, expected {} to {}", text, spec.min, spec.max);
}

Result<Json> ParseList(const std::string& text) {
  if (text.empty() || text.front() != '[') return Json(Json::array({text}));
  Result<Json> list = ParseJson(text, "list");
  if (list.ok()) {
    for (const Json& item : *list) {
      if (!item.is_string()) return InvalidArgument("got {}, expected strings", item.dump());
    }
  }
  return list;
}

}  // namespace

Result<int64_t> ParseInt(std::string_view text) {
  int64_t value = 0;
  if (!FromChars(Trim(text), &value)) return InvalidArgument("got \"{}\", expected an integer", text);
  return value;
}

Result<int64_t> ParseSize(std::string_view text) {
  std::string_view number = Trim(text);
  const int power = number.empty() ? 0 : SuffixPower(number.back());
  int64_t value = 0;
  if (power == 0) {
    if (!FromChars(number, &value)) return InvalidArgument("got \"{}\", expected {}", text, kSizeHint);
    return value;
  }
  const bool is_binary = std::isupper(static_cast<unsigned char>(number.back()));
  number.remove_suffix(1);
  if (FromChars(number, &value) && value >= 0) {
    uint64_t factor = 1;
    for (int i = 0; i < power; ++i) factor *= is_binary ? 1024 : 1000;
    const auto product = CheckedMul(static_cast<uint64_t>(value), factor);
    if (!product || *product > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InvalidArgument("got \"{}\", which does not fit in 64 bits", text);
    }
    return static_cast<int64_t>(*product);
  }
  double fraction = 0;
  const bool is_plain = number.find_first_not_of("0123456789.") == std::string_view::npos;  // no exponent
  if (!is_plain || number.empty() || number.front() == '.' || number.back() == '.' ||
      !FromChars(number, &fraction)) {
    return InvalidArgument("got \"{}\", expected {}", text, kSizeHint);
  }
  if (is_binary) {
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(Trim(text).back())));
    return InvalidArgument("got \"{}\", expected no fraction with a binary suffix; {}{} is decimal", text,
                           number, lower);
  }
  const double scaled = std::round(fraction * std::pow(1000.0, power));
  if (scaled >= 9.2e18) return InvalidArgument("got \"{}\", which does not fit in 64 bits", text);
  return static_cast<int64_t>(scaled);
}

Result<double> ParseFloat(std::string_view text) {
  double value = 0;
  if (!FromChars(Trim(text), &value) || !std::isfinite(value)) {
    return InvalidArgument("got \"{}\", expected a number", text);
  }
  return value;
}

Result<Json> ParseFlagJson(std::string_view text) {
  ASSIGN_OR_RETURN(const std::string expanded, ExpandSizes(text));
  return ParseJson(expanded, "JSON");
}

Result<Json> ParseFlagValue(const FlagSpec& spec, const std::string& text) {
  switch (spec.kind) {
    case FlagKind::kBool:
      if (text == "true" || text == "True" || text == "1") return Json(true);
      if (text == "false" || text == "False" || text == "0") return Json(false);
      return InvalidArgument("got \"{}\", expected true or false", text);
    case FlagKind::kInt:
    case FlagKind::kSize:
    case FlagKind::kSizeOrAuto: {
      const bool is_auto = spec.kind == FlagKind::kSizeOrAuto && (text == "auto" || text == "-1");
      if (is_auto) return Json(int64_t{-1});
      Result<int64_t> value = spec.kind == FlagKind::kInt ? ParseInt(text) : ParseSize(text);
      if (!value.ok()) return value.status();
      RETURN_IF_ERROR(CheckBounds(spec, static_cast<double>(*value), text));
      return Json(*value);
    }
    case FlagKind::kFloat: {
      ASSIGN_OR_RETURN(const double value, ParseFloat(text));
      RETURN_IF_ERROR(CheckBounds(spec, value, text));
      return Json(value);
    }
    case FlagKind::kString:
      if (spec.flag_class == FlagClass::kImplemented && !spec.choices.empty() &&
          !IsChoice(spec.choices, text)) {
        return InvalidArgument("got \"{}\", expected one of {}", text, spec.choices);
      }
      return Json(text);
    case FlagKind::kOptionalString:
      return Json(text);
    case FlagKind::kList:
      return ParseList(text);
    case FlagKind::kJson:
      return ParseFlagJson(text);
  }
  CHECK(false) << "kind of flag " << spec.name;
  return Json();
}

Json FlagDefault(const FlagSpec& spec) {
  if (spec.default_text.empty()) return Json();
  Result<Json> value = ParseFlagValue(spec, std::string(spec.default_text));
  CHECK(value.ok()) << spec.name << ": " << value.status().message();
  return *std::move(value);
}

Json ParseLooseValue(const std::string& text) {
  if (Result<Json> json = ParseJson(text, "value"); json.ok()) return *std::move(json);
  if (Result<int64_t> size = ParseSize(text); size.ok()) return Json(*size);
  return Json(text);
}

}  // namespace penstock
