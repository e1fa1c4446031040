// The statements of Jinja2 that transformers' environment knows and a lone template can use: no include,
// import, extends or block.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja/parser_impl.h"

namespace penstock::jinja {

Result<Block> Parser::Run() {
  Block block = Statements({});
  if (failed()) return status_;
  return block;
}

std::unique_ptr<Stmt> Parser::NewStmt(Stmt::Kind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = Current().line;
  return stmt;
}

void Parser::ExpectBlockEnd() {
  if (Current().kind != Token::Kind::kBlockEnd)
    return Fail(fmt::format("expected '%}}', got {}", Describe()));
  Advance();
}

void Parser::EndTag(std::string_view name) {
  if (!AcceptName(name)) return Fail(fmt::format("expected '{}', got {}", name, Describe()));
  ExpectBlockEnd();
}

Block Parser::Statements(std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  Block block;
  while (!failed()) {
    if (Current().kind == Token::Kind::kEnd) {
      if (ends.size() > 0) Fail(fmt::format("the template ends where '{}' is expected", *ends.begin()));
      break;
    }
    if (Current().kind == Token::Kind::kText) {
      std::unique_ptr<Stmt> text = NewStmt(Stmt::Kind::kText);
      text->text = Current().text;
      block.push_back(std::move(text));
      Advance();
    } else if (Current().kind == Token::Kind::kOutputBegin) {
      Advance();
      std::unique_ptr<Stmt> output = NewStmt(Stmt::Kind::kOutput);
      output->expr = TupleOrExpression();
      if (Current().kind != Token::Kind::kOutputEnd) Fail(fmt::format("expected '}}}}', got {}", Describe()));
      block.push_back(std::move(output));
      Advance();
    } else {
      Advance();  // {%
      if (std::ranges::any_of(ends, [&](std::string_view end) { return IsName(end); })) break;
      if (std::unique_ptr<Stmt> stmt = Statement(); stmt != nullptr) block.push_back(std::move(stmt));
    }
  }
  return block;
}

std::unique_ptr<Stmt> Parser::Statement() {
  std::unique_ptr<Stmt> stmt = NewStmt(Stmt::Kind::kBody);
  const std::string tag = ExpectName("a statement");
  if (tag == "if") {
    If(*stmt);
  } else if (tag == "for") {
    For(*stmt);
  } else if (tag == "set") {
    Set(*stmt);
  } else if (tag == "macro") {
    Macro(*stmt);
  } else if (tag == "call") {
    CallBlock(*stmt);
  } else if (tag == "with") {
    With(*stmt);
  } else if (tag == "filter") {
    stmt->kind = Stmt::Kind::kFilter;
    stmt->filter = FilterChain();
    ExpectBlockEnd();
    stmt->body = Statements({"endfilter"});
    EndTag("endfilter");
  } else if (tag == "generation") {
    ExpectBlockEnd();
    stmt->body = Statements({"endgeneration"});
    EndTag("endgeneration");
  } else if (tag == "break" || tag == "continue") {
    stmt->kind = tag == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue;
    if (loops_ == 0) Fail(fmt::format("'{}' outside of a loop", tag));
    ExpectBlockEnd();
  } else {
    Fail(fmt::format("unknown or unsupported tag '{}'", tag));
  }
  return stmt;
}

void Parser::If(Stmt& stmt) {
  stmt.kind = Stmt::Kind::kIf;
  do {  // if and elif
    Stmt::Branch branch;
    branch.condition = TupleOrExpression();
    ExpectBlockEnd();
    branch.body = Statements({"endif", "elif", "else"});
    stmt.branches.push_back(std::move(branch));
  } while (AcceptName("elif"));
  if (AcceptName("else")) {
    ExpectBlockEnd();
    stmt.branches.push_back({nullptr, Statements({"endif"})});
  }
  EndTag("endif");
}

void Parser::For(Stmt& stmt) {
  stmt.kind = Stmt::Kind::kFor;
  stmt.target = ParseTarget(false);
  if (!AcceptName("in")) Fail(fmt::format("expected 'in', got {}", Describe()));
  stmt.expr = TupleOrExpression(false);
  if (AcceptName("if")) stmt.condition = Expression();
  stmt.recursive = AcceptName("recursive");
  ExpectBlockEnd();
  ++loops_;
  stmt.body = Statements({"endfor", "else"});
  --loops_;
  if (AcceptName("else")) {
    ExpectBlockEnd();
    stmt.else_body = Statements({"endfor"});
  }
  EndTag("endfor");
}

Target Parser::ParseTarget(bool may_be_attribute) {
  const Nested nested(*this);
  Target target;
  do {
    Target part;
    if (AcceptOperator("(")) {
      part = ParseTarget(false);
      ExpectOperator(")");
    } else {
      part.name = ExpectName("a name to assign to");
      if (may_be_attribute && AcceptOperator(".")) part.attribute = ExpectName("an attribute's name");
    }
    target.parts.push_back(std::move(part));
  } while (!failed() && AcceptOperator(",") && !IsName("in") && !IsOperator("=") && !IsOperator(")"));
  if (target.parts.size() > 1) return target;
  Target only = std::move(target.parts[0]);
  return only;
}

void Parser::Set(Stmt& stmt) {
  stmt.target = ParseTarget(true);
  if (AcceptOperator("=")) {
    stmt.kind = Stmt::Kind::kSet;
    stmt.expr = TupleOrExpression();
    return ExpectBlockEnd();
  }
  stmt.kind = Stmt::Kind::kSetBlock;
  if (AcceptOperator("|")) stmt.filter = FilterChain();
  ExpectBlockEnd();
  stmt.body = Statements({"endset"});
  EndTag("endset");
}

// name(arguments) | name … — what it filters is null.
ExprPtr Parser::FilterChain() {
  ExprPtr chain = FilterOf(nullptr);
  while (AcceptOperator("|")) chain = FilterOf(std::move(chain));
  return chain;
}

std::vector<Stmt::Parameter> Parser::ParseParameters() {
  std::vector<Stmt::Parameter> parameters;
  ExpectOperator("(");
  while (!failed() && !IsOperator(")")) {
    Stmt::Parameter parameter;
    parameter.name = ExpectName("a parameter's name");
    if (AcceptOperator("=")) {
      parameter.otherwise = Expression();
    } else if (!parameters.empty() && parameters.back().otherwise != nullptr) {
      Fail("a parameter without a default after one with a default");
    }
    parameters.push_back(std::move(parameter));
    if (!AcceptOperator(",")) break;
  }
  ExpectOperator(")");
  return parameters;
}

void Parser::Macro(Stmt& stmt) {
  stmt.kind = Stmt::Kind::kMacro;
  stmt.name = ExpectName("a macro's name");
  stmt.parameters = ParseParameters();
  ExpectBlockEnd();
  const int loops = std::exchange(loops_, 0);
  stmt.body = Statements({"endmacro"});
  loops_ = loops;
  EndTag("endmacro");
}

void Parser::CallBlock(Stmt& stmt) {
  stmt.kind = Stmt::Kind::kCall;
  stmt.name = "caller";
  if (IsOperator("(")) stmt.parameters = ParseParameters();
  stmt.expr = Expression();
  if (!failed() && stmt.expr->kind != Expr::Kind::kCall) Fail("{% call %} without a call");
  ExpectBlockEnd();
  const int loops = std::exchange(loops_, 0);
  stmt.body = Statements({"endcall"});
  loops_ = loops;
  EndTag("endcall");
}

void Parser::With(Stmt& stmt) {
  stmt.kind = Stmt::Kind::kWith;
  while (!failed() && Current().kind != Token::Kind::kBlockEnd) {
    Target target;
    target.name = ExpectName("a name");
    ExpectOperator("=");
    ExprPtr value = Expression();
    stmt.assignments.emplace_back(std::move(target), std::move(value));
    if (!AcceptOperator(",")) break;
  }
  ExpectBlockEnd();
  stmt.body = Statements({"endwith"});
  EndTag("endwith");
}

}  // namespace penstock::jinja
