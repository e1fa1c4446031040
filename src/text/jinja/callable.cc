// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/callable.h"

#include "text/jinja/operators.h"

namespace penstock::jinja {
namespace {

// loop.cycle(a, b, …)
Value Cycle(Call& call, const Value& self) {
  if (call.positional.empty()) {
    call.context().Fail("cycle() of nothing");
    return Value();
  }
  return call.positional[self.loop().index % call.positional.size()];
}

}  // namespace

Value Callable::OfFunction(Context& context, Function function, std::string_view name) {
  if (!context.Charge(sizeof(Callable))) return Value();
  auto callable = std::make_shared<Callable>(context, std::string(name));
  callable->function = function;
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Value Callable::OfMethod(Context& context, Value self, Filter method, std::string_view name) {
  if (!context.Charge(sizeof(Callable))) return Value();
  if (self.is_string() && !context.StepChars(self.string().size()))
    return Value();  // most look at every character
  auto callable = std::make_shared<Callable>(context, std::string(name));
  callable->method = method;
  callable->self = std::move(self);
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Value Callable::OfMacro(Context& context, const Stmt& macro, Scope& scope) {
  if (!context.Charge(sizeof(Callable))) return Value();
  auto callable = std::make_shared<Callable>(context, macro.name);
  callable->macro = &macro;
  callable->scope = &scope;
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Value Loop::Attribute(Context& context, const std::string& name) const {
  const size_t size = items->items.size();
  if (name == "index") return Value(Int{index} + 1);
  if (name == "index0") return Value(Int{index});
  if (name == "revindex") return Value(Int{size - index});
  if (name == "revindex0") return Value(Int{size - index - 1});
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == size);
  if (name == "length") return Value(Int{size});
  if (name == "depth") return Value(Int{depth} + 1);
  if (name == "depth0") return Value(Int{depth});
  if (name == "previtem") return index > 0 ? items->items[index - 1] : Value(Undefined{&name});
  if (name == "nextitem") return index + 1 < size ? items->items[index + 1] : Value(Undefined{&name});
  if (name == "cycle") {
    // The method's own loop, as it stands now: a copy, so that no cycle of references can arise.
    auto self = context.Charge(sizeof(Loop)) ? std::make_shared<Loop>(context, items, depth) : nullptr;
    if (self == nullptr) return Value();
    self->index = index;
    return Callable::OfMethod(context, Value(std::shared_ptr<const Loop>(std::move(self))), Cycle, name);
  }
  return Value(Undefined{&name});
}

}  // namespace penstock::jinja
