// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/list_filters.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

Items ItemsOf(Context& context, const Value& value) {
  const std::shared_ptr<const List> list = ToList(context, value);
  if (list == nullptr || !context.StepBytes(list->items.size() * sizeof(Value)) ||
      !context.HasRoom(list->items.size() * sizeof(Value))) {
    return {};
  }
  return list->items;
}

Value Generator(Context& context, Items items) {
  return Value::MakeList(context, std::move(items), ListKind::kGenerator);
}

// The attribute at a path, "a.b.0"; an integer is one item. `otherwise` stands for what is undefined.
Value AttributeAt(Context& context, const Value& value, const Value& path, const Value& otherwise = Value()) {
  if (path.is_int()) return GetItem(context, value, path);
  if (!path.is_string()) {
    context.Fail("an attribute's name must be a string, not {}", path.type_name());
    return Value();
  }
  Value current = value;
  std::string_view rest = path.string();
  while (!context.failed()) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    uint32_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && error == std::errc() && end == part.data() + part.size();
    current = GetItem(context, current, is_index ? Value(Int{index}) : Value::Constant(part));
    if (current.is_undefined() && !otherwise.is_undefined()) current = otherwise;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return current;
}

// What values are compared by: lower case unless `case_sensitive`.
Value SortKey(Context& context, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  return Value::MakeString(context, MapChars(value.string(), ToLower));
}

void SortBy(Context& context, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  const auto less = [&](const auto& a, const auto& b) {
    if (context.failed()) return false;  // ends soon, and std::stable_sort bears with an order that changes
    return reverse ? Less(context, b.first, a.first) : Less(context, a.first, b.first);
  };
  std::ranges::stable_sort(keyed, less);
}

Items SortedItems(Context& context, Items items, const Value& attribute, bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key =
        attribute.is_undefined() || attribute.is_none() ? item : AttributeAt(context, item, attribute);
    keyed.emplace_back(SortKey(context, key, case_sensitive), std::move(item));
  }
  SortBy(context, keyed, reverse);
  items.clear();
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value LengthFilter(Call& call, const Value& value) {
  return Value(static_cast<Int>(Length(call.context(), value)));
}

Value First(Call& call, const Value& value) {
  if (value.is_string() || value.is_sequence()) return GetItem(call.context(), value, Value(Int{0}));
  const Items items = ItemsOf(call.context(), value);
  return items.empty() ? Value() : items.front();
}

Value Last(Call& call, const Value& value) {
  if (value.is_string() || value.is_sequence()) return GetItem(call.context(), value, Value(Int{-1}));
  const Items items = ItemsOf(call.context(), value);
  return items.empty() ? Value() : items.back();
}

Value ListFilter(Call& call, const Value& value) {
  return Value::MakeList(call.context(), ItemsOf(call.context(), value));
}

Value Reverse(Call& call, const Value& value) {
  if (value.is_string()) return GetSlice(call.context(), value, Value(), Value(), Value(Int{-1}));
  Items items = ItemsOf(call.context(), value);
  std::ranges::reverse(items);
  return Generator(call.context(), std::move(items));
}

Value Join(Call& call, const Value& value) {
  if (!call.Bind({"d", "attribute"})) return Value();
  Context& context = call.context();
  const std::string separator = call.Has(0) ? ToStr(context, call.At(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : ItemsOf(context, value)) {
    if (!std::exchange(first, false)) out += separator;
    out += ToStr(context, call.Has(1) ? AttributeAt(context, item, call.At(1)) : item);
    if (!context.StepBytes(separator.size()) || !context.HasRoom(out.size())) return Value();
  }
  return Value::MakeString(context, std::move(out));
}

Value Sort(Call& call, const Value& value) {
  if (!call.Bind({"reverse", "case_sensitive", "attribute"})) return Value();
  Context& context = call.context();
  Items items =
      SortedItems(context, ItemsOf(context, value), call.At(2), call.BoolAt(1, false), call.BoolAt(0, false));
  return Value::MakeList(context, std::move(items));
}

Value DictItems(Call& call, const Value& value) {
  Context& context = call.context();
  Items items;
  if (!value.is_dict() && !value.is_undefined())
    context.Fail("items of {}, which is no mapping", value.type_name());
  if (value.is_dict()) {
    for (const auto& [key, entry] : value.dict()->entries)
      items.push_back(Value::MakeList(context, {key, entry}, ListKind::kTuple));
  }
  return Generator(context, std::move(items));
}

Value DictSort(Call& call, const Value& value) {
  if (!call.Bind({"case_sensitive", "by", "reverse"})) return Value();
  Context& context = call.context();
  const std::string by = call.StringAt(1, "key");
  if (!value.is_dict()) context.Fail("dictsort of {}", value.type_name());
  if (by != "key" && by != "value") context.Fail("dictsort(by='{}')", by);
  if (context.failed()) return Value();
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, entry] : value.dict()->entries) {
    Value pair = Value::MakeList(context, {key, entry}, ListKind::kTuple);
    keyed.emplace_back(SortKey(context, by == "key" ? key : entry, call.BoolAt(0, false)), std::move(pair));
  }
  SortBy(context, keyed, call.BoolAt(2, false));
  Items items;
  for (auto& [key, pair] : keyed) items.push_back(std::move(pair));
  return Value::MakeList(context, std::move(items));
}

Value Unique(Call& call, const Value& value) {
  if (!call.Bind({"case_sensitive", "attribute"})) return Value();
  Context& context = call.context();
  Items unique, keys;
  for (Value& item : ItemsOf(context, value)) {
    const Value key =
        SortKey(context, call.Has(1) ? AttributeAt(context, item, call.At(1)) : item, call.BoolAt(0, false));
    if (std::ranges::any_of(keys, [&](const Value& other) { return Equal(context, other, key); })) continue;
    if (context.failed()) return Value();  // comparisons cost steps
    keys.push_back(key);
    unique.push_back(std::move(item));
  }
  return Generator(context, std::move(unique));
}

Value Extreme(Call& call, const Value& value, bool largest) {
  if (!call.Bind({"case_sensitive", "attribute"})) return Value();
  Context& context = call.context();
  Value best, best_key;
  bool first = true;
  for (const Value& item : ItemsOf(context, value)) {
    Value key =
        SortKey(context, call.Has(1) ? AttributeAt(context, item, call.At(1)) : item, call.BoolAt(0, false));
    if (!std::exchange(first, false) &&
        !(largest ? Less(context, best_key, key) : Less(context, key, best_key)))
      continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}
Value Min(Call& call, const Value& value) { return Extreme(call, value, false); }
Value Max(Call& call, const Value& value) { return Extreme(call, value, true); }

Value Sum(Call& call, const Value& value) {
  if (!call.Bind({"attribute", "start"})) return Value();
  Context& context = call.context();
  Value sum = call.Has(1) ? call.At(1) : Value(Int{0});
  const bool by_attribute = call.Has(0) && !call.At(0).is_none();
  for (const Value& item : ItemsOf(context, value)) {
    sum = Arithmetic(context, "+", sum, by_attribute ? AttributeAt(context, item, call.At(0)) : item);
    if (context.failed()) return Value();
  }
  return sum;
}

Value Attr(Call& call, const Value& value) {
  if (!call.Bind({"name"}, 1)) return Value();
  const std::string name = call.StringAt(0, "");
  if (value.is_dict() && FindDictMethod(name) == nullptr) return Value();  // attributes only, no items
  Value attribute = GetAttribute(call.context(), value, name);
  return attribute.is_undefined() ? Value() : attribute;
}

// Takes the first argument, a name, off the call.
std::string TakeName(Call& call) {
  if (call.positional.empty() || !call.positional[0].is_string()) {
    call.context().Fail("{}() needs a name", call.function());
    return "";
  }
  std::string name = call.positional[0].string();
  call.positional.erase(call.positional.begin());
  return name;
}

Value Map(Call& call, const Value& value) {
  Context& context = call.context();
  if (!value.Truthy()) return Generator(context, {});  // as Jinja2: none is no error here
  Items results;
  if (call.positional.empty()) {
    if (!call.Bind({"attribute", "default"}, 1)) return Value();
    for (const Value& item : ItemsOf(context, value)) {
      results.push_back(AttributeAt(context, item, call.At(0), call.Has(1) ? call.At(1) : Value()));
    }
    return Generator(context, std::move(results));
  }
  const std::string name = TakeName(call);
  const Filter filter = FindFilter(name);
  if (filter == nullptr) {
    context.Fail("no filter named '{}'", name);
    return Value();
  }
  for (const Value& item : ItemsOf(context, value)) {
    const Context::Deeper deeper(context);
    if (!context.Step()) return Value();
    Call inner(context, name);
    inner.positional = call.positional;
    inner.keyword = call.keyword;
    results.push_back(filter(inner, item));
  }
  return Generator(context, std::move(results));
}

// select, reject, selectattr and rejectattr.
Value Choose(Call& call, const Value& value, bool by_attribute, bool wanted) {
  Context& context = call.context();
  if (!value.Truthy()) return Generator(context, {});  // as Jinja2: none is no error here
  const Value attribute = by_attribute ? Value::MakeString(context, TakeName(call)) : Value();
  Test test = nullptr;
  std::string name;
  if (!call.positional.empty()) {
    name = TakeName(call);
    test = FindTest(name);
    if (test == nullptr) context.Fail("no test named '{}'", name);
  }
  Items chosen;
  for (Value& item : ItemsOf(context, value)) {
    if (!context.Step()) return Value();
    const Value tested = by_attribute ? AttributeAt(context, item, attribute) : item;
    Call inner(context, name);
    inner.positional = call.positional;
    if ((test != nullptr ? test(inner, tested) : tested.Truthy()) == wanted)
      chosen.push_back(std::move(item));
  }
  return Generator(context, std::move(chosen));
}
Value Select(Call& call, const Value& value) { return Choose(call, value, false, true); }
Value Reject(Call& call, const Value& value) { return Choose(call, value, false, false); }
Value SelectAttr(Call& call, const Value& value) { return Choose(call, value, true, true); }
Value RejectAttr(Call& call, const Value& value) { return Choose(call, value, true, false); }

Value Batch(Call& call, const Value& value) {
  if (!call.Bind({"linecount", "fill_with"}, 1)) return Value();
  Context& context = call.context();
  const Int size = call.IntAt(0, 1);
  if (size < 1 || size > 1000000) context.Fail("batch({})", IntText(size));
  if (context.failed()) return Value();
  Items batches, batch;
  const auto finish = [&] { batches.push_back(Value::MakeList(context, std::exchange(batch, {}))); };
  for (Value& item : ItemsOf(context, value)) {
    batch.push_back(std::move(item));
    if (static_cast<Int>(batch.size()) == size) finish();
  }
  if (!batch.empty()) {
    if (call.Has(1) && !call.At(1).is_none()) batch.resize(static_cast<size_t>(size), call.At(1));
    finish();
  }
  return Generator(context, std::move(batches));
}

Value GroupBy(Call& call, const Value& value) {
  if (!call.Bind({"attribute", "default", "case_sensitive"}, 1)) return Value();
  Context& context = call.context();
  const bool case_sensitive = call.BoolAt(2, false);
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : ItemsOf(context, value)) {
    Value key = AttributeAt(context, item, call.At(0), call.Has(1) ? call.At(1) : Value());
    keyed.emplace_back(SortKey(context, key, case_sensitive), std::move(item));
  }
  SortBy(context, keyed, false);
  Items groups;
  for (size_t begin = 0, end = 0; begin < keyed.size() && !context.failed(); begin = end) {
    Items group;
    for (end = begin; end < keyed.size() && Equal(context, keyed[end].first, keyed[begin].first); ++end)
      group.push_back(keyed[end].second);
    if (context.failed()) break;
    const Value key = AttributeAt(context, group.front(), call.At(0), call.Has(1) ? call.At(1) : Value());
    groups.push_back(
        Value::MakeList(context, {key, Value::MakeList(context, std::move(group))}, ListKind::kTuple));
  }
  return Value::MakeList(context, std::move(groups));
}

}  // namespace

void AddListFilters(std::map<std::string_view, Filter>& filters) {
  filters.insert({{"attr", Attr},
                  {"batch", Batch},
                  {"count", LengthFilter},
                  {"dictsort", DictSort},
                  {"first", First},
                  {"groupby", GroupBy},
                  {"items", DictItems},
                  {"join", Join},
                  {"last", Last},
                  {"length", LengthFilter},
                  {"list", ListFilter},
                  {"map", Map},
                  {"max", Max},
                  {"min", Min},
                  {"reject", Reject},
                  {"rejectattr", RejectAttr},
                  {"reverse", Reverse},
                  {"select", Select},
                  {"selectattr", SelectAttr},
                  {"sort", Sort},
                  {"sum", Sum},
                  {"unique", Unique}});
}

}  // namespace penstock::jinja
