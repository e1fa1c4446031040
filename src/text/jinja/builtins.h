// The filters, tests, methods and functions of Jinja2 and Python that chat templates use.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace penstock::jinja {

// The arguments of one call.
class Call {
 public:
  Call(Context& context, std::string_view function) : context_(context), function_(function) {}

  Context& context() { return context_; }
  std::string_view function() const { return function_; }
  Items positional;
  std::vector<std::pair<std::string, Value>> keyword;

  // Names the parameters in order: gathers keyword arguments into `positional` (undefined where none is
  // given), and fails on unknown, repeated, missing (the first `num_required`) and superfluous ones.
  bool Bind(std::initializer_list<std::string_view> names, size_t num_required = 0);

  // After Bind(). `otherwise` where the argument is not given; a wrong type fails.
  bool Has(size_t i) const { return i < positional.size() && !positional[i].is_undefined(); }
  const Value& At(size_t i) const { return positional[i]; }
  Int IntAt(size_t i, Int otherwise);
  bool BoolAt(size_t i, bool otherwise) const { return Has(i) ? positional[i].Truthy() : otherwise; }
  std::string StringAt(size_t i, std::string_view otherwise);
  // Null where it is not given or None.
  const std::string* StringOrNull(size_t i);

 private:
  Context& context_;
  const std::string function_;
};

using Filter = Value (*)(Call& call, const Value& value);
using Test = bool (*)(Call& call, const Value& value);
using Function = Value (*)(Call& call);

// Null if there is none of that name.
Filter FindFilter(std::string_view name);
Test FindTest(std::string_view name);
Filter FindStringMethod(std::string_view name);
Filter FindListMethod(std::string_view name);
Filter FindDictMethod(std::string_view name);
Function FindFunction(std::string_view name);

}  // namespace penstock::jinja
