// Runs a parsed template: expressions to values, statements to text.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/callable.h"
#include "text/jinja/context.h"

namespace penstock::jinja {

// Variables by name. For, macro, with and their kin have one each, inside that of what is around them; if has
// none.
struct Scope : std::enable_shared_from_this<Scope> {
  explicit Scope(std::shared_ptr<Scope> parent) : parent(std::move(parent)) {}
  static std::shared_ptr<Scope> Inside(Scope& scope) {
    return std::make_shared<Scope>(scope.shared_from_this());
  }
  Value* Find(std::string_view name);
  void Set(std::string_view name, Value value);

  const std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string_view, Value>> variables;  // names are the template's, or the caller's
};

class Interpreter {
 public:
  explicit Interpreter(Context& context) : context_(context) {}

  // The text of `block`, with the variables of `root`. What is wrong is in the context.
  std::string Run(const Block& block, Scope& root);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Value Eval(const Expr& expr, Scope& scope);
  Value EvalName(const Expr& expr, Scope& scope);
  Value EvalConcat(const Expr& expr, Scope& scope);
  Value EvalCompare(const Expr& expr, Scope& scope);
  Value EvalDict(const Expr& expr, Scope& scope);
  Value EvalSlice(const Expr& expr, Scope& scope);
  Value EvalFilter(const Expr& expr, Scope& scope, const Value* input);
  Value EvalTest(const Expr& expr, Scope& scope);
  Value EvalCall(const Expr& expr, Scope& scope, const Value* caller);
  Items EvalAll(const std::vector<ExprPtr>& exprs, Scope& scope);
  void EvalArguments(const Arguments& arguments, Scope& scope, Call& call);
  Value Invoke(const Value& callee, Call& call, const Value* caller);
  Value InvokeMacro(const Callable& macro, Call& call, const Value* caller);

  Flow Exec(const Block& block, Scope& scope);
  Flow ExecStmt(const Stmt& stmt, Scope& scope);
  Flow ExecIf(const Stmt& stmt, Scope& scope);
  void ExecFor(const Stmt& stmt, Scope& scope);
  void RunLoop(const Stmt& stmt, Scope& scope, const Value& iterable, int depth);
  void ExecSetBlock(const Stmt& stmt, Scope& scope);
  void ExecCall(const Stmt& stmt, Scope& scope);
  Flow ExecWith(const Stmt& stmt, Scope& scope);
  void Assign(const Target& target, const Value& value, Scope& scope);
  void Emit(std::string_view text);
  // What `body` emits, as a string.
  template <typename Body>
  Value Capture(const Body& body);
  // Keeps `scope` and those around it until the end, for what refers to it.
  bool Keep(Scope& scope);

  Context& context_;
  std::string* out_ = nullptr;
};

}  // namespace penstock::jinja
