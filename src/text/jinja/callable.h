// What a template can call, and the `loop` of a for statement.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/value.h"

namespace penstock::jinja {

struct Scope;  // of variables: interpreter.h

struct Callable : Tracked {
  Callable(Context& context, std::string name) : Tracked(context, sizeof(Callable)), name(std::move(name)) {}

  static Value OfFunction(Context& context, Function function, std::string_view name);
  static Value OfMethod(Context& context, Value self, Filter method, std::string_view name);
  static Value OfMacro(Context& context, const Stmt& macro, Scope& scope);

  const std::string name;
  Function function = nullptr;
  Filter method = nullptr;
  Value self;  // of the method
  const Stmt* macro = nullptr;
  Scope* scope = nullptr;  // in which the macro was defined; lives as long as the context
};

struct Loop : Tracked {
  Loop(Context& context, std::shared_ptr<const List> items, int depth)
      : Tracked(context, sizeof(Loop)), items(std::move(items)), depth(depth) {}

  Value Attribute(Context& context, const std::string& name) const;

  const std::shared_ptr<const List> items;
  const int depth;             // of recursion, from 0
  const Stmt* stmt = nullptr;  // loop(…) runs it again, where it is recursive
  Scope* scope = nullptr;      // around the statement; lives as long as the context, where it is recursive
  size_t index = 0;
};

}  // namespace penstock::jinja
