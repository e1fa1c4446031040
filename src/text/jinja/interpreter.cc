// Expressions. Once the context has failed, every value is undefined and nothing has an effect.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace penstock::jinja {

Value* Scope::Find(std::string_view name) {
  for (Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (auto& [key, value] : scope->variables) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::Set(std::string_view name, Value value) {
  for (auto& [key, old] : variables) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

std::string Interpreter::Run(const Block& block, Scope& root) {
  std::string text;
  out_ = &text;
  Exec(block, root);
  out_ = nullptr;
  return text;
}

bool Interpreter::Keep(Scope& scope) {
  if (!context_.Charge(256)) return false;
  context_.Own(scope.shared_from_this());
  return true;
}

Value Interpreter::Eval(const Expr& expr, Scope& scope) {
  const Context::Deeper deeper(context_);
  context_.set_line(expr.line);
  if (!context_.Step()) return Value();
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return expr.value;
    case Expr::Kind::kName:
      return EvalName(expr, scope);
    case Expr::Kind::kList:
      return Value::MakeList(context_, EvalAll(expr.operands, scope));
    case Expr::Kind::kTuple:
      return Value::MakeList(context_, EvalAll(expr.operands, scope), ListKind::kTuple);
    case Expr::Kind::kDict:
      return EvalDict(expr, scope);
    case Expr::Kind::kUnary: {
      const Value value = Eval(*expr.operands[0], scope);
      if (context_.failed()) return Value();
      if (expr.name == "not") return Value(!value.Truthy());
      return expr.name == "-" ? Negate(context_, value) : Arithmetic(context_, "+", value, Value(Int{0}));
    }
    case Expr::Kind::kBinary: {
      const Value left = Eval(*expr.operands[0], scope), right = Eval(*expr.operands[1], scope);
      return context_.failed() ? Value() : Arithmetic(context_, expr.name, left, right);
    }
    case Expr::Kind::kConcat:
      return EvalConcat(expr, scope);
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr: {
      Value left = Eval(*expr.operands[0], scope);
      if (context_.failed() || left.Truthy() == (expr.kind == Expr::Kind::kOr)) return left;
      return Eval(*expr.operands[1], scope);
    }
    case Expr::Kind::kCompare:
      return EvalCompare(expr, scope);
    case Expr::Kind::kCondition: {
      const bool holds = Eval(*expr.operands[0], scope).Truthy();
      if (context_.failed()) return Value();
      if (holds) return Eval(*expr.operands[1], scope);
      return expr.operands.size() > 2 ? Eval(*expr.operands[2], scope) : Value();
    }
    case Expr::Kind::kAttribute: {
      const Value object = Eval(*expr.operands[0], scope);
      return context_.failed() ? Value() : GetAttribute(context_, object, expr.name);
    }
    case Expr::Kind::kSubscript: {
      const Value object = Eval(*expr.operands[0], scope), key = Eval(*expr.operands[1], scope);
      return context_.failed() ? Value() : GetItem(context_, object, key);
    }
    case Expr::Kind::kSlice:
      return EvalSlice(expr, scope);
    case Expr::Kind::kCall:
      return EvalCall(expr, scope, nullptr);
    case Expr::Kind::kFilter:
      return EvalFilter(expr, scope, nullptr);
    case Expr::Kind::kTest:
      return EvalTest(expr, scope);
  }
  return Value();
}

Value Interpreter::EvalName(const Expr& expr, Scope& scope) {
  if (const Value* value = scope.Find(expr.name); value != nullptr) {
    return value->is_undefined() ? Value(Undefined{&expr.name}) : *value;
  }
  if (const Function function = FindFunction(expr.name); function != nullptr) {
    return Callable::OfFunction(context_, function, expr.name);
  }
  return Value(Undefined{&expr.name});
}

Items Interpreter::EvalAll(const std::vector<ExprPtr>& exprs, Scope& scope) {
  Items items;
  items.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) items.push_back(Eval(*expr, scope));
  return items;
}

Value Interpreter::EvalDict(const Expr& expr, Scope& scope) {
  Entries entries;
  for (size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
    Value key = Eval(*expr.operands[i], scope);
    entries.emplace_back(std::move(key), Eval(*expr.operands[i + 1], scope));
  }
  return context_.failed() ? Value() : Value::MakeDict(context_, std::move(entries));
}

Value Interpreter::EvalConcat(const Expr& expr, Scope& scope) {
  std::string text;
  for (const Value& value : EvalAll(expr.operands, scope)) {
    const std::string part = ToStr(context_, value);
    if (context_.failed() || !context_.HasRoom(text.size() + part.size())) return Value();
    text += part;
  }
  return Value::MakeString(context_, std::move(text));
}

Value Interpreter::EvalCompare(const Expr& expr, Scope& scope) {
  Value left = Eval(*expr.operands[0], scope);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = Eval(*expr.operands[i + 1], scope);
    if (context_.failed()) return Value();
    if (!Compare(context_, expr.ops[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::EvalSlice(const Expr& expr, Scope& scope) {
  Value parts[4];
  for (size_t i = 0; i < expr.operands.size(); ++i) {
    if (expr.operands[i] != nullptr) parts[i] = Eval(*expr.operands[i], scope);
  }
  return context_.failed() ? Value() : GetSlice(context_, parts[0], parts[1], parts[2], parts[3]);
}

// `input` is what a chain of filters that begins with nothing is put on.
Value Interpreter::EvalFilter(const Expr& expr, Scope& scope, const Value* input) {
  const Expr* inner = expr.operands[0].get();
  const Value value = inner == nullptr ? *input
                      : input != nullptr && inner->kind == Expr::Kind::kFilter
                          ? EvalFilter(*inner, scope, input)
                          : Eval(*inner, scope);
  Call call(context_, expr.name);
  EvalArguments(expr.arguments, scope, call);
  context_.set_line(expr.line);
  return context_.failed() ? Value() : FindFilter(expr.name)(call, value);
}

Value Interpreter::EvalTest(const Expr& expr, Scope& scope) {
  const Value value = Eval(*expr.operands[0], scope);
  Call call(context_, expr.name);
  EvalArguments(expr.arguments, scope, call);
  context_.set_line(expr.line);
  return context_.failed() ? Value() : Value(FindTest(expr.name)(call, value));
}

void Interpreter::EvalArguments(const Arguments& arguments, Scope& scope, Call& call) {
  call.positional = EvalAll(arguments.positional, scope);
  for (const auto& [name, expr] : arguments.keyword) call.keyword.emplace_back(name, Eval(*expr, scope));
}

Value Interpreter::EvalCall(const Expr& expr, Scope& scope, const Value* caller) {
  const Value callee = Eval(*expr.operands[0], scope);
  Call call(context_, callee.is_undefined() || callee.is_loop() || !callee.is_callable()
                          ? expr.operands[0]->name
                          : callee.callable().name);
  EvalArguments(expr.arguments, scope, call);
  context_.set_line(expr.line);
  return context_.failed() ? Value() : Invoke(callee, call, caller);
}

Value Interpreter::Invoke(const Value& callee, Call& call, const Value* caller) {
  if (callee.is_undefined()) {
    context_.Fail("'{}' is undefined, and cannot be called", call.function());
    return Value();
  }
  if (callee.is_loop()) {
    const Loop& loop = callee.loop();
    if (loop.stmt == nullptr || !call.Bind({"iterable"}, 1)) {
      context_.Fail("only a recursive loop can be called");
      return Value();
    }
    return Capture([&] { RunLoop(*loop.stmt, *loop.scope, call.At(0), loop.depth + 1); });
  }
  if (!callee.is_callable()) {
    context_.Fail("'{}' is a {}, and cannot be called", call.function(), callee.type_name());
    return Value();
  }
  const Callable& callable = callee.callable();
  if (callable.function != nullptr) return callable.function(call);
  if (callable.method != nullptr) return callable.method(call, callable.self);
  return InvokeMacro(callable, call, caller);
}

Value Interpreter::InvokeMacro(const Callable& macro, Call& call, const Value* caller) {
  const std::shared_ptr<Scope> scope = Scope::Inside(*macro.scope);
  const std::vector<Stmt::Parameter>& parameters = macro.macro->parameters;
  size_t num_used = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    const auto keyword = std::ranges::find(
        call.keyword, name, [](const auto& entry) -> const std::string& { return entry.first; });
    Value value;
    if (i < call.positional.size()) {
      value = std::move(call.positional[i]);
    } else if (keyword != call.keyword.end()) {
      value = std::move(keyword->second);
      call.keyword.erase(keyword);
    } else if (parameters[i].otherwise != nullptr) {
      value = Eval(*parameters[i].otherwise, *scope);
    }
    scope->Set(name, std::move(value));
    num_used = i + 1;
  }
  Items rest;
  for (size_t i = num_used; i < call.positional.size(); ++i) rest.push_back(std::move(call.positional[i]));
  Entries keywords;
  for (auto& [name, value] : call.keyword)
    keywords.emplace_back(Value::MakeString(context_, name), std::move(value));
  scope->Set("varargs", Value::MakeList(context_, std::move(rest), ListKind::kTuple));
  scope->Set("kwargs", Value::MakeDict(context_, std::move(keywords)));
  if (caller != nullptr) scope->Set("caller", *caller);
  return Capture([&] { Exec(macro.macro->body, *scope); });
}

template <typename Body>
Value Interpreter::Capture(const Body& body) {
  std::string text;
  std::string* const around = std::exchange(out_, &text);
  body();
  out_ = around;
  context_.Release(text.size());  // Emit() has counted it
  return context_.failed() ? Value() : Value::MakeString(context_, std::move(text));
}

// ------------------------------------------------------------------------------------------- statements

void Interpreter::Emit(std::string_view text) {
  if (out_->size() + text.size() > context_.limits().max_output_bytes) {
    context_.Fail("more than {} bytes of text", context_.limits().max_output_bytes);
  }
  if (!context_.failed() && context_.Charge(text.size())) *out_ += text;
}

Interpreter::Flow Interpreter::Exec(const Block& block, Scope& scope) {
  const Context::Deeper deeper(context_);
  for (const auto& stmt : block) {
    if (!context_.Step()) return Flow::kBreak;
    context_.set_line(stmt->line);
    if (const Flow flow = ExecStmt(*stmt, scope); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecStmt(const Stmt& stmt, Scope& scope) {
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      Emit(stmt.text);
      break;
    case Stmt::Kind::kOutput: {
      const Value value = Eval(*stmt.expr, scope);
      if (!context_.failed()) value.is_string() ? Emit(value.string()) : Emit(ToStr(context_, value));
      break;
    }
    case Stmt::Kind::kIf:
      return ExecIf(stmt, scope);
    case Stmt::Kind::kFor:
      ExecFor(stmt, scope);
      break;
    case Stmt::Kind::kSet:
      Assign(stmt.target, Eval(*stmt.expr, scope), scope);
      break;
    case Stmt::Kind::kSetBlock:
      ExecSetBlock(stmt, scope);
      break;
    case Stmt::Kind::kMacro:
      if (Keep(scope)) scope.Set(stmt.name, Callable::OfMacro(context_, stmt, scope));
      break;
    case Stmt::Kind::kCall:
      ExecCall(stmt, scope);
      break;
    case Stmt::Kind::kFilter: {
      const std::shared_ptr<Scope> inner = Scope::Inside(scope);
      const Value text = Capture([&] { Exec(stmt.body, *inner); });
      const Value filtered = context_.failed() ? Value() : EvalFilter(*stmt.filter, scope, &text);
      if (!context_.failed()) Emit(ToStr(context_, filtered));
      break;
    }
    case Stmt::Kind::kWith:
      return ExecWith(stmt, scope);
    case Stmt::Kind::kBody:
      return Exec(stmt.body, *Scope::Inside(scope));
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecIf(const Stmt& stmt, Scope& scope) {
  for (const Stmt::Branch& branch : stmt.branches) {
    const bool holds = branch.condition == nullptr || Eval(*branch.condition, scope).Truthy();
    if (context_.failed()) return Flow::kBreak;
    if (holds) return Exec(branch.body, scope);
  }
  return Flow::kNext;
}

void Interpreter::ExecFor(const Stmt& stmt, Scope& scope) {
  const Value iterable = Eval(*stmt.expr, scope);
  if (context_.failed() || (stmt.recursive && !Keep(scope))) return;
  RunLoop(stmt, scope, iterable, 0);
}

void Interpreter::RunLoop(const Stmt& stmt, Scope& scope, const Value& iterable, int depth) {
  std::shared_ptr<const List> list = ToList(context_, iterable);
  if (list == nullptr) return;
  if (stmt.condition != nullptr) {
    Items chosen;
    const std::shared_ptr<Scope> inner = Scope::Inside(scope);
    for (const Value& item : list->items) {
      Assign(stmt.target, item, *inner);
      if (Eval(*stmt.condition, *inner).Truthy()) chosen.push_back(item);
      if (context_.failed()) return;
    }
    const Value filtered = Value::MakeList(context_, std::move(chosen));
    if (!filtered.is_list()) return;
    list = filtered.list();
  }
  if (!context_.Charge(sizeof(Loop))) return;
  const auto loop = std::make_shared<Loop>(context_, list, depth);
  if (stmt.recursive) {
    loop->stmt = &stmt;
    loop->scope = &scope;
  }
  std::shared_ptr<Scope> inner;
  for (; loop->index < list->items.size(); ++loop->index) {
    if (inner == nullptr || inner.use_count() > 1) inner = Scope::Inside(scope);  // a macro may have kept it
    inner->variables.clear();
    inner->Set("loop", Value(std::shared_ptr<const Loop>(loop)));
    Assign(stmt.target, list->items[loop->index], *inner);
    if (context_.failed() || Exec(stmt.body, *inner) == Flow::kBreak || context_.failed()) return;
  }
  if (list->items.empty()) Exec(stmt.else_body, *Scope::Inside(scope));
}

void Interpreter::ExecSetBlock(const Stmt& stmt, Scope& scope) {
  const std::shared_ptr<Scope> inner = Scope::Inside(scope);
  Value value = Capture([&] { Exec(stmt.body, *inner); });
  if (context_.failed()) return;
  if (stmt.filter != nullptr) value = EvalFilter(*stmt.filter, scope, &value);
  Assign(stmt.target, value, scope);
}

void Interpreter::ExecCall(const Stmt& stmt, Scope& scope) {
  if (!Keep(scope)) return;
  const Value caller = Callable::OfMacro(context_, stmt, scope);
  const Value text = context_.failed() ? Value() : EvalCall(*stmt.expr, scope, &caller);
  if (!context_.failed()) Emit(ToStr(context_, text));
}

Interpreter::Flow Interpreter::ExecWith(const Stmt& stmt, Scope& scope) {
  const std::shared_ptr<Scope> inner = Scope::Inside(scope);
  for (const auto& [target, expr] : stmt.assignments) Assign(target, Eval(*expr, scope), *inner);
  return Exec(stmt.body, *inner);
}

void Interpreter::Assign(const Target& target, const Value& value, Scope& scope) {
  if (context_.failed()) return;
  if (!target.parts.empty()) {
    const std::shared_ptr<const List> list = ToList(context_, value);
    if (list == nullptr) return;
    if (list->items.size() != target.parts.size()) {
      return context_.Fail("{} values for {} names", list->items.size(), target.parts.size());
    }
    for (size_t i = 0; i < target.parts.size(); ++i) Assign(target.parts[i], list->items[i], scope);
  } else if (target.attribute.empty()) {
    scope.Set(target.name, value);
  } else {
    Value* object = scope.Find(target.name);
    if (object == nullptr || !object->is_namespace())
      return context_.Fail("cannot assign an attribute of '{}': it is no namespace", target.name);
    if (target.attribute.starts_with('_'))
      return context_.Fail("a namespace cannot hold '{}'", target.attribute);
    object->name_space()->Set(target.attribute, value);
  }
}

}  // namespace penstock::jinja
