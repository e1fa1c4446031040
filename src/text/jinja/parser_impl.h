// The parser's state, shared by parser.cc (expressions) and parser_statements.cc.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace penstock::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Result<Block> Run();

 private:
  class Nested {  // one level deeper for the life of this object
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  const Token& Current() const { return tokens_[next_]; }
  const Token& Next() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  void Advance() {
    if (next_ + 1 < tokens_.size()) ++next_;
  }
  bool failed() const { return !status_.ok(); }
  void Fail(const std::string& message);
  bool IsOperator(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool AcceptOperator(std::string_view text);
  bool AcceptName(std::string_view text);
  void ExpectOperator(std::string_view text);
  std::string ExpectName(std::string_view what);
  std::string Describe() const;

  std::unique_ptr<Expr> New(Expr::Kind kind) const;
  ExprPtr Finish(std::unique_ptr<Expr> expr);
  ExprPtr Make(Expr::Kind kind, std::string name, ExprPtr first, ExprPtr second = nullptr);

  ExprPtr Expression(bool with_condition = true);
  ExprPtr TupleOrExpression(bool with_condition = true);
  ExprPtr Or();
  ExprPtr And();
  ExprPtr Not();
  ExprPtr Compare();
  ExprPtr Binary(std::initializer_list<std::string_view> ops, ExprPtr (Parser::*operand)());
  ExprPtr Sum();
  ExprPtr Concat();
  ExprPtr Product();
  ExprPtr Power();
  ExprPtr UnaryWithFilters();
  ExprPtr Unary(bool with_filters);
  ExprPtr Constant(Value value);
  ExprPtr Number();
  ExprPtr Primary();
  ExprPtr ListLiteral();
  ExprPtr DictLiteral();
  ExprPtr Postfix(ExprPtr expr);
  ExprPtr Subscript(ExprPtr expr);
  Arguments ParseArguments();
  ExprPtr CallOf(ExprPtr callee);
  ExprPtr Filters(ExprPtr expr);
  ExprPtr FilterOf(ExprPtr expr);
  ExprPtr TestOf(ExprPtr expr);

  // Statements up to, and without, a block tag whose name is one of `ends`; those of the whole template if it
  // is empty. The name of that tag is then the current token.
  Block Statements(std::initializer_list<std::string_view> ends);
  std::unique_ptr<Stmt> Statement();
  std::unique_ptr<Stmt> NewStmt(Stmt::Kind kind) const;
  void ExpectBlockEnd();
  void EndTag(std::string_view name);  // name %}
  Target ParseTarget(bool may_be_attribute);
  std::vector<Stmt::Parameter> ParseParameters();
  ExprPtr FilterChain();
  void If(Stmt& stmt);
  void For(Stmt& stmt);
  void Set(Stmt& stmt);
  void Macro(Stmt& stmt);
  void CallBlock(Stmt& stmt);
  void With(Stmt& stmt);

  const std::vector<Token> tokens_;
  size_t next_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // loops around the current statement, for break and continue
  Status status_;
};

}  // namespace penstock::jinja
