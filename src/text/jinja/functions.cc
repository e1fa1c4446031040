// The global functions of transformers' environment.
//
// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace penstock::jinja {
namespace {

constexpr Int kMaxRange = 100000;  // as Jinja2's sandbox

Value Range(Call& call) {
  if (!call.Bind({"start", "stop", "step"}, 1)) return Value();
  Context& context = call.context();
  Int start = call.IntAt(0, 0), stop = call.IntAt(1, 0);
  const Int step = call.IntAt(2, 1);
  if (!call.Has(1)) stop = std::exchange(start, 0);
  if (step == 0) context.Fail("range() arg 3 must not be zero");
  if (context.failed()) return Value();
  const Int span = step > 0 ? stop - start : start - stop, stride = step > 0 ? step : -step;
  const Int count = span <= 0 ? 0 : (span - 1) / stride + 1;
  if (count > kMaxRange) {
    context.Fail("range() of {} items, at most {}", IntText(count), IntText(kMaxRange));
    return Value();
  }
  Items items;
  for (Int i = 0; i < count; ++i) items.push_back(Value(start + i * step));
  return Value::MakeList(context, std::move(items));
}

// The entries of dict(mapping or pairs, name=value, …).
Entries EntriesOf(Call& call) {
  Context& context = call.context();
  Entries entries;
  if (call.positional.size() > 1) context.Fail("{}() takes at most 1 positional argument", call.function());
  if (!call.positional.empty() && call.positional[0].is_dict()) {
    entries = call.positional[0].dict()->entries;
  } else if (!call.positional.empty()) {
    const std::shared_ptr<const List> pairs = ToList(context, call.positional[0]);
    for (const Value& pair : pairs == nullptr ? Items{} : pairs->items) {
      if (!pair.is_sequence() || pair.items().size() != 2) {
        context.Fail("{}() needs pairs", call.function());
        return {};
      }
      entries.emplace_back(pair.items()[0], pair.items()[1]);
    }
  }
  for (auto& [name, value] : call.keyword)
    entries.emplace_back(Value::MakeString(context, name), std::move(value));
  return entries;
}

Value DictFunction(Call& call) { return Value::MakeDict(call.context(), EntriesOf(call)); }

Value NamespaceFunction(Call& call) {
  Context& context = call.context();
  auto object = std::make_shared<Namespace>();
  for (auto& [key, value] : EntriesOf(call)) {
    if (!key.is_string() || key.string().starts_with('_'))
      context.Fail("namespace() cannot hold '{}'", ToStr(context, key));
    if (context.failed()) return Value();
    object->Set(key.string(), std::move(value));
  }
  if (!context.Charge(sizeof(Namespace) + object->attributes.size() * 64)) return Value();
  context.Own(object);
  return Value(object.get());
}

Value RaiseException(Call& call) {
  if (!call.Bind({"message"}, 1)) return Value();
  call.context().FailWith(ToStr(call.context(), call.At(0)));
  return Value();
}

// Local time, as datetime.now().
Value StrftimeNow(Call& call) {
  if (!call.Bind({"format"}, 1)) return Value();
  const std::string format = call.StringAt(0, "");
  if (format.size() > 256) call.context().Fail("strftime_now() with a format of {} bytes", format.size());
  if (call.context().failed() || format.empty()) return Value::MakeString(call.context(), "");
  const std::time_t now = call.context().now();
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[8192];
  const size_t len = std::strftime(buffer, sizeof(buffer), format.c_str(), &local);
  return Value::MakeString(call.context(), std::string(buffer, len));
}

}  // namespace

Function FindFunction(std::string_view name) {
  static const std::map<std::string_view, Function> kFunctions = {{"dict", DictFunction},
                                                                  {"namespace", NamespaceFunction},
                                                                  {"raise_exception", RaiseException},
                                                                  {"range", Range},
                                                                  {"strftime_now", StrftimeNow}};
  const auto found = kFunctions.find(name);
  return found == kFunctions.end() ? nullptr : found->second;
}

}  // namespace penstock::jinja
