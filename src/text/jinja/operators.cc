// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/callable.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

Value Unsupported(Context& context, std::string_view op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) {
      context.Fail("'{}' is undefined",
                   value->undefined_name() != nullptr ? *value->undefined_name() : "value");
    }
  }
  context.Fail("unsupported operand type(s) for {}: '{}' and '{}'", op, a.type_name(), b.type_name());
  return Value();
}

Value Overflow(Context& context) {
  context.Fail("an integer that is too large");
  return Value();
}

// Towards minus infinity, as Python divides.
Int FloorDivide(Int a, Int b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }

Value IntPower(Context& context, Int base, Int exponent) {
  Int result = 1;
  for (; exponent > 0; --exponent) {
    if (!context.Step() || __builtin_mul_overflow(result, base, &result)) return Overflow(context);
    if (base == 1 || base == 0) break;
    if (base == -1) return Value(Int{exponent % 2 == 0 ? 1 : -1});
  }
  return Value(result);
}

Value IntArithmetic(Context& context, std::string_view op, Int a, Int b) {
  Int result = 0;
  if (op == "+") return __builtin_add_overflow(a, b, &result) ? Overflow(context) : Value(result);
  if (op == "-") return __builtin_sub_overflow(a, b, &result) ? Overflow(context) : Value(result);
  if (op == "*") return __builtin_mul_overflow(a, b, &result) ? Overflow(context) : Value(result);
  if (op == "**") {
    return b < 0 ? Value(std::pow(static_cast<double>(a), static_cast<double>(b))) : IntPower(context, a, b);
  }
  if (b == 0) {
    context.Fail("division by zero");
    return Value();
  }
  if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1)
    return op == "%" ? Value(Int{0}) : IntArithmetic(context, "-", 0, a);  // the one quotient that overflows
  if (op == "//") return Value(FloorDivide(a, b));
  return Value(a - FloorDivide(a, b) * b);
}

Value FloatArithmetic(Context& context, std::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") return Value(std::pow(a, b));
  if (b == 0) {
    context.Fail("float division by zero");
    return Value();
  }
  if (op == "/") return Value(a / b);
  if (op == "//") return Value(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

// A string or a list, `count` times.
Value Repeat(Context& context, const Value& value, Int count) {
  const size_t size = value.is_string() ? value.string().size() : value.items().size() * sizeof(Value);
  const size_t times = count <= 0 ? 0 : static_cast<size_t>(std::min<Int>(count, Int{1} << 40));
  size_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = ~size_t{0};
  if (!context.HasRoom(total)) return Value();
  if (value.is_string()) {
    std::string text;
    text.reserve(total);
    for (size_t i = 0; i < times && size > 0; ++i) text += value.string();
    return Value::MakeString(context, std::move(text));
  }
  Items items;
  items.reserve(total / sizeof(Value));
  for (size_t i = 0; i < times && size > 0; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return Value::MakeList(context, std::move(items), value.list()->kind);
}

Value Add(Context& context, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    if (!context.HasRoom(a.string().size() + b.string().size())) return Value();
    return Value::MakeString(context, a.string() + b.string());
  }
  if (!a.is_sequence() || !b.is_sequence() || a.list()->kind != b.list()->kind)
    return Unsupported(context, "+", a, b);
  if (!context.HasRoom((a.items().size() + b.items().size()) * sizeof(Value))) return Value();
  Items items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Value::MakeList(context, std::move(items), a.list()->kind);
}

// The index of an item: from the end if negative. Nothing if there is none.
std::optional<size_t> IndexOf(Int index, size_t size) {
  if (index < 0) index += static_cast<Int>(size);
  if (index < 0 || index >= static_cast<Int>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

// As Python's slice.indices().
struct SliceRange {
  Int start, stop, step;
};
std::optional<SliceRange> Resolve(Context& context, Int size, const Value& start, const Value& stop,
                                  const Value& step) {
  const auto given = [](const Value& value) { return !value.is_undefined() && !value.is_none(); };
  for (const Value* value : {&start, &stop, &step}) {
    if (given(*value) && !value->is_int() && !value->is_bool()) {
      context.Fail("slice indices must be integers or None, not {}", value->type_name());
      return std::nullopt;
    }
  }
  SliceRange range{0, 0, given(step) ? step.integer() : 1};
  if (range.step == 0) {
    context.Fail("slice step cannot be zero");
    return std::nullopt;
  }
  const Int low = range.step > 0 ? 0 : -1, high = range.step > 0 ? size : size - 1;
  const auto clamp = [&](const Value& value, Int otherwise) {
    if (!given(value)) return otherwise;
    const Int index = value.integer() < 0 ? std::max(value.integer(), -size - 1) + size : value.integer();
    return std::clamp(index, low, high);
  };
  range.start = clamp(start, range.step > 0 ? low : high);
  range.stop = clamp(stop, range.step > 0 ? high : low);
  return range;
}

}  // namespace

Value Arithmetic(Context& context, std::string_view op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return FloatArithmetic(context, op, a.number(), b.number());
    return IntArithmetic(context, op, a.integer(), b.integer());
  }
  const bool a_repeats = (a.is_string() || a.is_sequence()) && (b.is_int() || b.is_bool());
  const bool b_repeats = (b.is_string() || b.is_sequence()) && (a.is_int() || a.is_bool());
  if (op == "*" && a_repeats) return Repeat(context, a, b.integer());
  if (op == "*" && b_repeats) return Repeat(context, b, a.integer());
  if (op == "+") return Add(context, a, b);
  if (op == "%" && a.is_string()) {
    Call call(context, "format");
    if (b.is_tuple()) {
      call.positional = b.items();
    } else {
      call.positional.push_back(b);
    }
    return FindFilter("format")(call, a);
  }
  return Unsupported(context, op, a, b);
}

Value Negate(Context& context, const Value& value) {
  if (value.is_float()) return Value(-value.number());
  if (value.is_number()) return IntArithmetic(context, "-", 0, value.integer());
  return Unsupported(context, "-", value, value);
}

bool Equal(Context& context, const Value& a, const Value& b) {
  const Context::Deeper deeper(context);
  if (!context.Step()) return false;
  if (a.is_string() && b.is_string()) {
    return a.string().size() == b.string().size() && context.StepBytes(a.string().size()) &&
           a.string() == b.string();
  }
  if (a.SameAs(b)) return true;
  if (a.is_list() && b.is_list()) {
    if (a.list()->kind != b.list()->kind || a.items().size() != b.items().size()) return false;
    for (size_t i = 0; i < a.items().size(); ++i) {
      if (!Equal(context, a.items()[i], b.items()[i])) return false;
    }
    return true;
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict()->entries.size() != b.dict()->entries.size()) return false;
    for (const auto& [key, value] : a.dict()->entries) {
      const Value* other = b.dict()->Find(key);
      if (other == nullptr || !Equal(context, value, *other)) return false;
    }
    return true;
  }
  return false;
}

bool Less(Context& context, const Value& a, const Value& b) {
  const Context::Deeper deeper(context);
  if (!context.Step()) return false;
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() < b.number() : a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) {
    return context.StepBytes(std::min(a.string().size(), b.string().size())) && a.string() < b.string();
  }
  if (a.is_list() && b.is_list() && a.list()->kind == b.list()->kind) {
    for (size_t i = 0; i < std::min(a.items().size(), b.items().size()); ++i) {
      if (!Equal(context, a.items()[i], b.items()[i])) return Less(context, a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size();
  }
  Unsupported(context, "<", a, b);
  return false;
}

bool Contains(Context& context, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string())
      context.Fail("'in <string>' requires string as left operand, not {}", item.type_name());
    return context.StepBytes(container.string().size()) &&
           container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_dict()) {
    return context.Step(item.is_string() ? 1 : container.dict()->entries.size()) &&
           container.dict()->Find(item) != nullptr;
  }
  const std::shared_ptr<const List> list = ToList(context, container);
  return list != nullptr &&
         std::ranges::any_of(list->items, [&](const Value& value) { return Equal(context, value, item); });
}

bool Compare(Context& context, std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return Equal(context, a, b);
  if (op == "!=") return !Equal(context, a, b);
  if (op == "<") return Less(context, a, b);
  if (op == ">") return Less(context, b, a);
  if (op == "in") return Contains(context, b, a);
  if (op == "not in") return !Contains(context, b, a);
  // A NaN is neither less nor equal.
  if (a.is_number() && b.is_number() && (std::isnan(a.number()) || std::isnan(b.number()))) return false;
  return op == "<=" ? !Less(context, b, a) : !Less(context, a, b);
}

Value GetAttribute(Context& context, const Value& value, const std::string& name) {
  if (!context.Step()) return Value();
  if (value.is_undefined()) {
    context.Fail("'{}' is undefined, and has no '{}'",
                 value.undefined_name() != nullptr ? *value.undefined_name() : "value", name);
    return Value();
  }
  if (value.is_namespace()) {
    const Value* found = value.name_space()->Find(name);
    return found != nullptr ? *found : Value(Undefined{&name});
  }
  if (value.is_loop()) return value.loop().Attribute(context, name);
  const Filter method = value.is_string()     ? FindStringMethod(name)
                        : value.is_sequence() ? FindListMethod(name)
                        : value.is_dict()     ? FindDictMethod(name)
                                              : nullptr;
  if (method != nullptr) return Callable::OfMethod(context, value, method, name);
  if (value.is_dict()) {
    if (const Value* found = value.dict()->Find(std::string_view(name)); found != nullptr) return *found;
  }
  return Value(Undefined{&name});
}

Value GetItem(Context& context, const Value& value, const Value& key) {
  if (!context.Step()) return Value();
  if (value.is_undefined()) {
    context.Fail("'{}' is undefined, and has no items",
                 value.undefined_name() != nullptr ? *value.undefined_name() : "value");
    return Value();
  }
  if (value.is_dict()) {
    if (const Value* found = value.dict()->Find(key); found != nullptr) return *found;
  } else if (value.is_sequence() && (key.is_int() || key.is_bool())) {
    const std::optional<size_t> i = IndexOf(key.integer(), value.items().size());
    return i ? value.items()[*i] : Value();
  } else if (value.is_string() && (key.is_int() || key.is_bool())) {
    if (!context.StepBytes(value.string().size())) return Value();
    const std::optional<size_t> i = IndexOf(key.integer(), CountChars(value.string()));
    if (!i) return Value();
    const size_t begin = ByteOfChar(value.string(), *i);
    size_t len = 0;
    CharAt(std::string_view(value.string()).substr(begin), len);
    return Value::MakeString(context, value.string().substr(begin, len));
  }
  if (!key.is_string()) return Value();
  Value attribute = GetAttribute(context, value, key.string());
  return attribute.is_undefined() ? Value() : attribute;  // the name may not outlive the key
}

Value GetSlice(Context& context, const Value& value, const Value& start, const Value& stop,
               const Value& step) {
  if (!value.is_string() && !value.is_sequence()) {
    context.Fail("'{}' cannot be sliced", value.type_name());
    return Value();
  }
  const size_t bytes = value.is_string() ? value.string().size() : value.items().size();
  if (!context.StepBytes(bytes)) return Value();
  const size_t size = value.is_string() ? CountChars(value.string()) : value.items().size();
  const std::optional<SliceRange> range = Resolve(context, static_cast<Int>(size), start, stop, step);
  if (!range) return Value();
  const auto inside = [&](Int i) { return range->step > 0 ? i < range->stop : i > range->stop; };
  const Int stride = std::clamp(range->step, -static_cast<Int>(size) - 1, static_cast<Int>(size) + 1);
  if (value.is_string() && range->step == 1) {
    if (range->stop <= range->start) return Value::MakeString(context, "");
    const size_t begin = ByteOfChar(value.string(), static_cast<size_t>(range->start));
    const size_t end = ByteOfChar(value.string(), static_cast<size_t>(range->stop));
    return Value::MakeString(context, value.string().substr(begin, end - begin));
  }
  if (value.is_string()) {
    if (!context.Charge(size * sizeof(char32_t))) return Value();
    std::u32string chars;
    for (size_t i = 0, len = 0; i < bytes; i += len)
      chars += CharAt(std::string_view(value.string()).substr(i), len);
    std::string text;
    for (Int i = range->start; inside(i); i += stride) AppendChar(chars[static_cast<size_t>(i)], text);
    context.Release(size * sizeof(char32_t));
    return Value::MakeString(context, std::move(text));
  }
  if (!context.HasRoom(size * sizeof(Value))) return Value();
  Items items;
  for (Int i = range->start; inside(i); i += stride) items.push_back(value.items()[static_cast<size_t>(i)]);
  return Value::MakeList(context, std::move(items), value.list()->kind);
}

std::shared_ptr<const List> ToList(Context& context, const Value& value) {
  if (value.is_list()) return value.list();
  Items items;
  if (value.is_string()) {
    const std::string& text = value.string();
    if (!context.HasRoom(text.size() * (sizeof(Value) + 64))) return nullptr;
    for (size_t i = 0, len = 0; i < text.size() && !context.failed(); i += len) {
      CharAt(std::string_view(text).substr(i), len);
      items.push_back(Value::MakeString(context, text.substr(i, len)));
    }
  } else if (value.is_dict()) {
    if (!context.HasRoom(value.dict()->entries.size() * sizeof(Value))) return nullptr;
    for (const auto& [key, entry] : value.dict()->entries) items.push_back(key);
  } else if (!value.is_undefined()) {
    context.Fail("'{}' object is not iterable", value.type_name());
  }
  const Value list = Value::MakeList(context, std::move(items));
  return list.is_list() ? list.list() : nullptr;
}

size_t Length(Context& context, const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return context.StepBytes(value.string().size()) ? CountChars(value.string()) : 0;
  if (value.is_sequence()) return value.items().size();
  if (value.is_dict()) return value.dict()->entries.size();
  context.Fail("object of type '{}' has no len()", value.type_name());
  return 0;
}

}  // namespace penstock::jinja
