// `is …`.
//
// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"

namespace penstock::jinja {
namespace {

template <bool (Value::*kPredicate)() const>
bool Is(Call&, const Value& value) {
  return (value.*kPredicate)();
}

bool Defined(Call&, const Value& value) { return !value.is_undefined(); }
bool True(Call&, const Value& value) { return value.is_bool() && value.boolean(); }
bool False(Call&, const Value& value) { return value.is_bool() && !value.boolean(); }
bool Sequence(Call&, const Value& value) {
  return value.is_string() || value.is_sequence() || value.is_dict() || value.is_undefined();
}
bool Iterable(Call&, const Value& value) {
  return value.is_string() || value.is_list() || value.is_dict() || value.is_undefined() || value.is_loop();
}
bool Never(Call&, const Value&) { return false; }

template <bool (*kWanted)(char32_t), bool (*kUnwanted)(char32_t)>
bool AllCased(Call& call, const Value& value) {
  const std::string text = ToStr(call.context(), value);
  if (!call.context().StepChars(text.size())) return false;
  bool any = false;
  for (size_t i = 0, len = 0; i < text.size(); i += len) {
    const char32_t c = CharAt(std::string_view(text).substr(i), len);
    if (kUnwanted(c)) return false;
    any |= kWanted(c);
  }
  return any;
}

template <char kOp>  // '=' '!' '<' '>' 'l' (<=) 'g' (>=) 'i' (in)
bool Compared(Call& call, const Value& value) {
  if (!call.Bind({"other"}, 1)) return false;
  constexpr std::string_view kText = kOp == '='   ? "=="
                                     : kOp == '!' ? "!="
                                     : kOp == '<' ? "<"
                                     : kOp == '>' ? ">"
                                     : kOp == 'l' ? "<="
                                     : kOp == 'g' ? ">="
                                                  : "in";
  return Compare(call.context(), kText, value, call.At(0));
}

bool SameAs(Call& call, const Value& value) {
  if (!call.Bind({"other"}, 1)) return false;
  return std::string_view(value.type_name()) == call.At(0).type_name() && value.SameAs(call.At(0));
}

bool DivisibleBy(Call& call, const Value& value) {
  if (!call.Bind({"num"}, 1)) return false;
  return Arithmetic(call.context(), "%", value, call.At(0)).Truthy() == false && !call.context().failed();
}
bool Odd(Call& call, const Value& value) {
  return Arithmetic(call.context(), "%", value, Value(Int{2})).Truthy();
}
bool Even(Call& call, const Value& value) { return !Odd(call, value); }

bool IsFilter(Call&, const Value& value) {
  return value.is_string() && FindFilter(value.string()) != nullptr;
}
bool IsTest(Call&, const Value& value) { return value.is_string() && FindTest(value.string()) != nullptr; }

}  // namespace

Test FindTest(std::string_view name) {
  static const std::map<std::string_view, Test> kTests = {{"boolean", Is<&Value::is_bool>},
                                                          {"callable", Is<&Value::is_callable>},
                                                          {"defined", Defined},
                                                          {"divisibleby", DivisibleBy},
                                                          {"eq", Compared<'='>},
                                                          {"==", Compared<'='>},
                                                          {"equalto", Compared<'='>},
                                                          {"ne", Compared<'!'>},
                                                          {"!=", Compared<'!'>},
                                                          {"lt", Compared<'<'>},
                                                          {"<", Compared<'<'>},
                                                          {"lessthan", Compared<'<'>},
                                                          {"le", Compared<'l'>},
                                                          {"<=", Compared<'l'>},
                                                          {"gt", Compared<'>'>},
                                                          {">", Compared<'>'>},
                                                          {"greaterthan", Compared<'>'>},
                                                          {"ge", Compared<'g'>},
                                                          {">=", Compared<'g'>},
                                                          {"in", Compared<'i'>},
                                                          {"escaped", Never},
                                                          {"even", Even},
                                                          {"odd", Odd},
                                                          {"true", True},
                                                          {"false", False},
                                                          {"filter", IsFilter},
                                                          {"test", IsTest},
                                                          {"float", Is<&Value::is_float>},
                                                          {"integer", Is<&Value::is_int>},
                                                          {"iterable", Iterable},
                                                          {"lower", AllCased<IsLower, IsUpper>},
                                                          {"upper", AllCased<IsUpper, IsLower>},
                                                          {"mapping", Is<&Value::is_dict>},
                                                          {"none", Is<&Value::is_none>},
                                                          {"number", Is<&Value::is_number>},
                                                          {"sameas", SameAs},
                                                          {"sequence", Sequence},
                                                          {"string", Is<&Value::is_string>},
                                                          {"undefined", Is<&Value::is_undefined>}};
  const auto found = kTests.find(name);
  return found == kTests.end() ? nullptr : found->second;
}

}  // namespace penstock::jinja
