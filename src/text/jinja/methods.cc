// The methods of Python's str, list and dict that read; those that change their object are refused, as
// transformers' sandbox does.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

Value Text(Call& call, std::string_view text) { return Value::MakeString(call.context(), std::string(text)); }

template <bool kLeft, bool kRight>
Value Strip(Call& call, const Value& self) {
  if (!call.Bind({"chars"})) return Value();
  const std::string* chars = call.StringOrNull(0);
  std::string_view text = self.string();
  if (kLeft) text = StripLeft(text, chars);
  if (kRight) text = StripRight(text, chars);
  return Text(call, text);
}

// The part of `text` that the arguments "start" and "end" at `i` and `i + 1` choose, and where it begins.
std::string_view Part(Call& call, const std::string& text, size_t i, size_t& begin) {
  begin = 0;
  if (!call.Has(i) && !call.Has(i + 1)) return text;
  const Int size = static_cast<Int>(CountChars(text));
  const auto place = [&](Int index) {
    return ByteOfChar(text, static_cast<size_t>(std::clamp<Int>(index < 0 ? index + size : index, 0, size)));
  };
  begin = place(call.IntAt(i, 0));
  const size_t end = place(call.IntAt(i + 1, size));
  return begin <= end ? std::string_view(text).substr(begin, end - begin) : std::string_view();
}

// Does the string begin (end) with the argument, or with one of a tuple?
template <bool kAtBegin>
Value StartsOrEndsWith(Call& call, const Value& self) {
  if (!call.Bind({"prefix", "start", "end"}, 1)) return Value();
  Context& context = call.context();
  size_t begin = 0;
  const std::string_view text = Part(call, self.string(), 1, begin);
  const auto matches = [&](const Value& value) {
    if (!value.is_string()) {
      context.Fail("{}() needs a string or a tuple of strings, got {}", call.function(), value.type_name());
      return false;
    }
    return kAtBegin ? text.starts_with(value.string()) : text.ends_with(value.string());
  };
  if (call.At(0).is_tuple()) return Value(std::ranges::any_of(call.At(0).items(), matches));
  return Value(matches(call.At(0)));
}

template <bool kFromRight, bool kMustBe>
Value Find(Call& call, const Value& self) {
  if (!call.Bind({"sub", "start", "end"}, 1)) return Value();
  size_t begin = 0;
  const std::string_view text = Part(call, self.string(), 1, begin);
  const std::string sub = call.StringAt(0, "");
  if (!call.context().StepBytes(text.size())) return Value();
  const size_t found = kFromRight ? text.rfind(sub) : text.find(sub);
  if (found == std::string_view::npos) {
    if (kMustBe) call.context().Fail("substring not found");
    return Value(Int{-1});
  }
  return Value(static_cast<Int>(CountChars(std::string_view(self.string()).substr(0, begin + found))));
}

Value Count(Call& call, const Value& self) {
  if (!call.Bind({"sub"}, 1)) return Value();
  const std::string sub = call.StringAt(0, "");
  const std::string& text = self.string();
  if (!call.context().StepBytes(text.size())) return Value();
  if (sub.empty()) return Value(static_cast<Int>(CountChars(text) + 1));
  Int count = 0;
  for (size_t pos = text.find(sub); pos != std::string::npos; pos = text.find(sub, pos + sub.size())) ++count;
  return Value(count);
}

Value Replace(Call& call, const Value& self) {
  if (!call.Bind({"old", "new", "count"}, 2)) return Value();
  return ReplaceAll(call.context(), self.string(), call.StringAt(0, ""), call.StringAt(1, ""),
                    call.IntAt(2, -1));
}

// Between runs of white space; at most `max_splits` times from the left (or the right), where it is not
// negative.
std::vector<std::string_view> SplitWords(std::string_view text, Int max_splits, bool from_right) {
  std::vector<std::string_view> words;
  for (;;) {
    text = from_right ? StripRight(text, nullptr) : StripLeft(text, nullptr);
    if (text.empty()) break;
    if (max_splits >= 0 && static_cast<Int>(words.size()) == max_splits) {
      words.push_back(from_right ? StripRight(text, nullptr) : text);
      break;
    }
    size_t begin = 0, end = 0;
    if (from_right) {
      size_t len = 0;
      for (begin = end = text.size(); begin > 0; begin -= len) {
        for (len = 1; len < begin && (static_cast<uint8_t>(text[begin - len]) & 0xC0) == 0x80;) ++len;
        if (size_t ignored = 0; IsSpace(CharAt(text.substr(begin - len), ignored))) break;
      }
    } else {
      for (size_t len = 0; end < text.size() && !IsSpace(CharAt(text.substr(end), len));) end += len;
    }
    words.push_back(text.substr(begin, end - begin));
    text = from_right ? text.substr(0, begin) : text.substr(end);
  }
  if (from_right) std::ranges::reverse(words);
  return words;
}

std::vector<std::string_view> SplitAt(std::string_view text, std::string_view separator, Int max_splits,
                                      bool from_right) {
  std::vector<std::string_view> parts;
  while (max_splits < 0 || static_cast<Int>(parts.size()) < max_splits) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    const std::string_view after = text.substr(found + separator.size());
    parts.push_back(from_right ? after : text.substr(0, found));
    text = from_right ? text.substr(0, found) : after;
  }
  parts.push_back(text);
  if (from_right) std::ranges::reverse(parts);
  return parts;
}

Value ListOf(Call& call, const std::vector<std::string_view>& parts, ListKind kind = ListKind::kList) {
  Context& context = call.context();
  if (!context.HasRoom(parts.size() * (sizeof(Value) + 64))) return Value();
  Items items;
  items.reserve(parts.size());
  for (std::string_view part : parts) {
    items.push_back(Text(call, part));
    if (context.failed()) return Value();
  }
  return Value::MakeList(context, std::move(items), kind);
}

template <bool kFromRight>
Value Split(Call& call, const Value& self) {
  if (!call.Bind({"sep", "maxsplit"})) return Value();
  Context& context = call.context();
  const std::string* separator = call.StringOrNull(0);
  const Int max_splits = call.IntAt(1, -1);
  if (separator != nullptr && separator->empty()) context.Fail("empty separator");
  if (!context.StepBytes(self.string().size())) return Value();
  return ListOf(call, separator == nullptr ? SplitWords(self.string(), max_splits, kFromRight)
                                           : SplitAt(self.string(), *separator, max_splits, kFromRight));
}

template <bool kFromRight>
Value Partition(Call& call, const Value& self) {
  if (!call.Bind({"sep"}, 1)) return Value();
  const std::string separator = call.StringAt(0, "");
  if (separator.empty()) call.context().Fail("empty separator");
  if (call.context().failed()) return Value();
  const std::string_view text = self.string();
  const size_t found = kFromRight ? text.rfind(separator) : text.find(separator);
  if (found == std::string_view::npos) {
    return ListOf(call,
                  kFromRight ? std::vector<std::string_view>{"", "", text}
                             : std::vector<std::string_view>{text, "", ""},
                  ListKind::kTuple);
  }
  return ListOf(call, {text.substr(0, found), separator, text.substr(found + separator.size())},
                ListKind::kTuple);
}

Value SplitLinesMethod(Call& call, const Value& self) {
  if (!call.Bind({"keepends"})) return Value();
  return ListOf(call, SplitLines(self.string(), call.BoolAt(0, false)));
}

Value Join(Call& call, const Value& self) {
  if (!call.Bind({"iterable"}, 1)) return Value();
  Context& context = call.context();
  const std::shared_ptr<const List> list = ToList(context, call.At(0));
  if (list == nullptr) return Value();
  std::string out;
  for (size_t i = 0; i < list->items.size(); ++i) {
    const Value& item = list->items[i];
    if (!item.is_string()) context.Fail("join() needs strings, got {}", item.type_name());
    if (!context.StepBytes(self.string().size()) || !context.HasRoom(out.size() + item.string().size()))
      return Value();
    if (i > 0) out += self.string();
    out += item.string();
  }
  return Value::MakeString(context, std::move(out));
}

template <bool kPrefix>
Value RemoveAffix(Call& call, const Value& self) {
  if (!call.Bind({"affix"}, 1)) return Value();
  const std::string affix = call.StringAt(0, "");
  std::string_view text = self.string();
  if (kPrefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!kPrefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Text(call, text);
}

template <bool kLeft, bool kRight>  // where the padding goes
Value Justify(Call& call, const Value& self) {
  if (!call.Bind({"width", "fillchar"}, 1)) return Value();
  const std::string fill = call.StringAt(1, " ");
  const Int width = call.IntAt(0, 0), len = static_cast<Int>(CountChars(self.string()));
  if (CountChars(fill) != 1) call.context().Fail("a fill character of {} characters", CountChars(fill));
  if (width <= len) return self;
  if (width > (Int{1} << 40) || !call.context().HasRoom(static_cast<size_t>(width) * fill.size())) {
    call.context().Fail("{}() to a width of {}", call.function(), IntText(width));
    return Value();
  }
  const size_t padding = static_cast<size_t>(width - len);
  const size_t left = kLeft && kRight ? padding / 2 + (padding & static_cast<size_t>(width) & 1)
                      : kLeft         ? padding
                                      : 0;
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += self.string();
  for (size_t i = left; i < padding; ++i) out += fill;
  return Value::MakeString(call.context(), std::move(out));
}

Value ZFill(Call& call, const Value& self) {
  if (!call.Bind({"width"}, 1)) return Value();
  Call padded(call.context(), "zfill");
  const bool is_signed = self.string().starts_with('-') || self.string().starts_with('+');
  padded.positional = {Value(call.IntAt(0, 0) - (is_signed ? 1 : 0)), Value::Constant("0")};
  const Value digits = Text(call, std::string_view(self.string()).substr(is_signed ? 1 : 0));
  if (call.context().failed()) return Value();
  const Value filled = Justify<true, false>(padded, digits);
  if (call.context().failed()) return Value();
  return Text(call, self.string().substr(0, is_signed ? 1 : 0) + filled.string());
}

template <char32_t (*kMap)(char32_t)>
Value Mapped(Call& call, const Value& self) {
  return Text(call, MapChars(self.string(), kMap));
}
char32_t SwapCase(char32_t c) { return IsUpper(c) ? ToLower(c) : ToUpper(c); }

Value CapitalizeMethod(Call& call, const Value& self) { return Text(call, Capitalize(self.string())); }

// A letter after anything that is no letter begins a word.
Value Title(Call& call, const Value& self) {
  std::string out;
  bool in_word = false;
  const std::string_view text = self.string();
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(text.substr(i), len);
    AppendChar(in_word ? ToLower(c) : ToUpper(c), out);
    in_word = IsAlpha(c);
  }
  return Text(call, out);
}

template <bool (*kPredicate)(char32_t)>
Value AllChars(Call&, const Value& self) {
  const std::string_view text = self.string();
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    if (!kPredicate(CharAt(text.substr(i), len))) return Value(false);
  }
  return Value(!text.empty());
}
bool IsAlnum(char32_t c) { return IsAlpha(c) || IsDigit(c); }
Value IsAscii(Call&, const Value& self) {
  return Value(std::ranges::all_of(self.string(), [](char c) { return (c & 0x80) == 0; }));
}
Value IsLowerText(Call& call, const Value& self) { return Value(FindTest("lower")(call, self)); }
Value IsUpperText(Call& call, const Value& self) { return Value(FindTest("upper")(call, self)); }
Value Format(Call& call, const Value& self) { return BraceFormat(call, self.string()); }

Value Refuse(Call& call, const Value& self) {
  call.context().Fail("{}() would change a {}, which a template may not", call.function(), self.type_name());
  return Value();
}

Value ListIndex(Call& call, const Value& self) {
  if (!call.Bind({"value"}, 1)) return Value();
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (Equal(call.context(), self.items()[i], call.At(0))) return Value(static_cast<Int>(i));
  }
  call.context().Fail("index(): the value is not in the list");
  return Value();
}

Value ListCount(Call& call, const Value& self) {
  if (!call.Bind({"value"}, 1)) return Value();
  Int count = 0;
  for (const Value& item : self.items()) count += Equal(call.context(), item, call.At(0));
  return Value(count);
}

Value Copy(Call&, const Value& self) { return self; }

Value Get(Call& call, const Value& self) {
  if (!call.Bind({"key", "default"}, 1)) return Value();
  if (const Value* found = self.dict()->Find(call.At(0)); found != nullptr) return *found;
  return call.Has(1) ? call.At(1) : Value(None{});
}

Value Keys(Call& call, const Value& self) {
  Items keys;
  for (const auto& [key, value] : self.dict()->entries) keys.push_back(key);
  return Value::MakeList(call.context(), std::move(keys));
}
Value Values(Call& call, const Value& self) {
  Items values;
  for (const auto& [key, value] : self.dict()->entries) values.push_back(value);
  return Value::MakeList(call.context(), std::move(values));
}
Value DictItems(Call& call, const Value& self) {
  Items items;
  for (const auto& [key, value] : self.dict()->entries) {
    items.push_back(Value::MakeList(call.context(), {key, value}, ListKind::kTuple));
    if (call.context().failed()) return Value();
  }
  return Value::MakeList(call.context(), std::move(items));
}

using Methods = std::map<std::string_view, Filter>;

Filter FindIn(const Methods& methods, std::string_view name) {
  const auto found = methods.find(name);
  return found == methods.end() ? nullptr : found->second;
}

}  // namespace

Filter FindStringMethod(std::string_view name) {
  static const Methods kMethods = {{"capitalize", CapitalizeMethod},
                                   {"casefold", Mapped<ToLower>},
                                   {"center", Justify<true, true>},
                                   {"count", Count},
                                   {"endswith", StartsOrEndsWith<false>},
                                   {"find", Find<false, false>},
                                   {"format", Format},
                                   {"index", Find<false, true>},
                                   {"isalnum", AllChars<IsAlnum>},
                                   {"isalpha", AllChars<IsAlpha>},
                                   {"isascii", IsAscii},
                                   {"isdecimal", AllChars<IsDigit>},
                                   {"isdigit", AllChars<IsDigit>},
                                   {"islower", IsLowerText},
                                   {"isnumeric", AllChars<IsDigit>},
                                   {"isspace", AllChars<IsSpace>},
                                   {"isupper", IsUpperText},
                                   {"join", Join},
                                   {"ljust", Justify<false, true>},
                                   {"lower", Mapped<ToLower>},
                                   {"lstrip", Strip<true, false>},
                                   {"partition", Partition<false>},
                                   {"removeprefix", RemoveAffix<true>},
                                   {"removesuffix", RemoveAffix<false>},
                                   {"replace", Replace},
                                   {"rfind", Find<true, false>},
                                   {"rindex", Find<true, true>},
                                   {"rjust", Justify<true, false>},
                                   {"rpartition", Partition<true>},
                                   {"rsplit", Split<true>},
                                   {"rstrip", Strip<false, true>},
                                   {"split", Split<false>},
                                   {"splitlines", SplitLinesMethod},
                                   {"startswith", StartsOrEndsWith<true>},
                                   {"strip", Strip<true, true>},
                                   {"swapcase", Mapped<SwapCase>},
                                   {"title", Title},
                                   {"upper", Mapped<ToUpper>},
                                   {"zfill", ZFill}};
  return FindIn(kMethods, name);
}

Filter FindListMethod(std::string_view name) {
  static const Methods kMethods = {{"append", Refuse},   {"clear", Refuse},  {"copy", Copy},
                                   {"count", ListCount}, {"extend", Refuse}, {"index", ListIndex},
                                   {"insert", Refuse},   {"pop", Refuse},    {"remove", Refuse},
                                   {"reverse", Refuse},  {"sort", Refuse}};
  return FindIn(kMethods, name);
}

Filter FindDictMethod(std::string_view name) {
  static const Methods kMethods = {{"clear", Refuse},    {"copy", Copy},         {"get", Get},
                                   {"items", DictItems}, {"keys", Keys},         {"pop", Refuse},
                                   {"popitem", Refuse},  {"setdefault", Refuse}, {"update", Refuse},
                                   {"values", Values}};
  return FindIn(kMethods, name);
}

}  // namespace penstock::jinja
