// Expressions, from loose to tight:  a if b else c · or · and · not · comparisons · + - · ~ · * / // % · ** ·
// unary · attribute, subscript and call · filter and test.
//
// The first error sticks and puts the parser at the end of the tokens, so that everything unwinds. Nesting is
// counted on the way down, and the depth of every tree on the way up: "a + b + c + …" is deep, though nothing
// is nested.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/jinja/parser_impl.h"

namespace penstock::jinja {
namespace {

constexpr int kMaxNesting = 200;
constexpr int kMaxTreeDepth = 200;

int DepthOf(const Expr& expr) {
  int depth = 0;
  const auto add = [&](const ExprPtr& child) {
    depth = std::max(depth, child == nullptr ? 0 : child->depth);
  };
  for (const ExprPtr& operand : expr.operands) add(operand);
  for (const ExprPtr& argument : expr.arguments.positional) add(argument);
  for (const auto& [name, argument] : expr.arguments.keyword) add(argument);
  return depth + 1;
}

}  // namespace

Result<Block> ParseTemplate(std::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

void Parser::Fail(const std::string& message) {
  if (status_.ok()) status_ = InvalidArgument("chat template, line {}: {}", Current().line, message);
  next_ = tokens_.size() - 1;
}

bool Parser::IsOperator(std::string_view text) const {
  return Current().kind == Token::Kind::kOperator && Current().text == text;
}
bool Parser::IsName(std::string_view text) const {
  return Current().kind == Token::Kind::kName && Current().text == text;
}
bool Parser::AcceptOperator(std::string_view text) {
  const bool accepted = IsOperator(text);
  if (accepted) Advance();
  return accepted;
}
bool Parser::AcceptName(std::string_view text) {
  const bool accepted = IsName(text);
  if (accepted) Advance();
  return accepted;
}
void Parser::ExpectOperator(std::string_view text) {
  if (!AcceptOperator(text)) Fail(fmt::format("expected '{}', got {}", text, Describe()));
}
std::string Parser::ExpectName(std::string_view what) {
  if (Current().kind != Token::Kind::kName) {
    Fail(fmt::format("expected {}, got {}", what, Describe()));
    return "";
  }
  std::string name = Current().text;
  Advance();
  return name;
}
std::string Parser::Describe() const {
  switch (Current().kind) {
    case Token::Kind::kEnd:
      return "the end of the template";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kOutputEnd:
      return "'}}'";
    default:
      return fmt::format("'{}'", Current().text);
  }
}

std::unique_ptr<Expr> Parser::New(Expr::Kind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = Current().line;
  return expr;
}

ExprPtr Parser::Finish(std::unique_ptr<Expr> expr) {
  expr->depth = DepthOf(*expr);
  if (expr->depth > kMaxTreeDepth) Fail("an expression that is too long");
  return expr;
}

ExprPtr Parser::Make(Expr::Kind kind, std::string name, ExprPtr first, ExprPtr second) {
  std::unique_ptr<Expr> expr = New(kind);
  expr->name = std::move(name);
  expr->operands.push_back(std::move(first));
  if (second != nullptr) expr->operands.push_back(std::move(second));
  return Finish(std::move(expr));
}

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMaxNesting) parser_.Fail(fmt::format("nested deeper than {}", kMaxNesting));
}

ExprPtr Parser::Expression(bool with_condition) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr expr = Or();
  while (with_condition && AcceptName("if")) {
    std::unique_ptr<Expr> condition = New(Expr::Kind::kCondition);
    condition->operands.push_back(Or());
    condition->operands.push_back(std::move(expr));
    if (AcceptName("else")) condition->operands.push_back(Expression());
    expr = Finish(std::move(condition));
  }
  return expr;
}

ExprPtr Parser::TupleOrExpression(bool with_condition) {
  ExprPtr first = Expression(with_condition);
  if (!IsOperator(",")) return first;
  std::unique_ptr<Expr> tuple = New(Expr::Kind::kTuple);
  tuple->operands.push_back(std::move(first));
  while (AcceptOperator(",")) {
    const Token::Kind kind = Current().kind;
    const bool at_end = kind == Token::Kind::kBlockEnd || kind == Token::Kind::kOutputEnd ||
                        kind == Token::Kind::kEnd || IsOperator(")") || IsOperator("]") || IsName("in") ||
                        IsName("recursive");
    if (at_end) break;
    tuple->operands.push_back(Expression(with_condition));
  }
  return Finish(std::move(tuple));
}

ExprPtr Parser::Or() {
  ExprPtr left = And();
  while (AcceptName("or")) left = Make(Expr::Kind::kOr, "", std::move(left), And());
  return left;
}

ExprPtr Parser::And() {
  ExprPtr left = Not();
  while (AcceptName("and")) left = Make(Expr::Kind::kAnd, "", std::move(left), Not());
  return left;
}

ExprPtr Parser::Not() {
  const Nested nested(*this);
  if (AcceptName("not")) return Make(Expr::Kind::kUnary, "not", Not());
  return Compare();
}

ExprPtr Parser::Compare() {
  ExprPtr first = Sum();
  std::unique_ptr<Expr> compare;
  for (;;) {
    std::string op;
    if (Current().kind == Token::Kind::kOperator &&
        std::string_view("== != < <= > >=").find(Current().text) != std::string_view::npos &&
        Current().text != "=") {
      op = Current().text;
      Advance();
    } else if (AcceptName("in")) {
      op = "in";
    } else if (IsName("not") && Next().kind == Token::Kind::kName && Next().text == "in") {
      Advance();
      Advance();
      op = "not in";
    } else {
      break;
    }
    if (compare == nullptr) {
      compare = New(Expr::Kind::kCompare);
      compare->operands.push_back(std::move(first));
    }
    compare->ops.push_back(std::move(op));
    compare->operands.push_back(Sum());
  }
  return compare == nullptr ? std::move(first) : Finish(std::move(compare));
}

ExprPtr Parser::Binary(std::initializer_list<std::string_view> ops, ExprPtr (Parser::*operand)()) {
  ExprPtr left = (this->*operand)();
  for (;;) {
    const auto op = std::ranges::find_if(ops, [&](std::string_view text) { return IsOperator(text); });
    if (op == ops.end()) return left;
    Advance();
    left = Make(Expr::Kind::kBinary, std::string(*op), std::move(left), (this->*operand)());
  }
}

ExprPtr Parser::Sum() { return Binary({"+", "-"}, &Parser::Concat); }

ExprPtr Parser::Concat() {
  ExprPtr first = Product();
  if (!IsOperator("~")) return first;
  std::unique_ptr<Expr> concat = New(Expr::Kind::kConcat);
  concat->operands.push_back(std::move(first));
  while (AcceptOperator("~")) concat->operands.push_back(Product());
  return Finish(std::move(concat));
}

ExprPtr Parser::Product() { return Binary({"*", "/", "//", "%"}, &Parser::Power); }

ExprPtr Parser::Power() { return Binary({"**"}, &Parser::UnaryWithFilters); }

ExprPtr Parser::UnaryWithFilters() { return Unary(true); }

ExprPtr Parser::Unary(bool with_filters) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr expr;
  if (AcceptOperator("-")) {
    expr = Make(Expr::Kind::kUnary, "-", Unary(false));
  } else if (AcceptOperator("+")) {
    expr = Make(Expr::Kind::kUnary, "+", Unary(false));
  } else {
    expr = Primary();
  }
  expr = Postfix(std::move(expr));
  return with_filters ? Filters(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::Constant(Value value) {
  std::unique_ptr<Expr> expr = New(Expr::Kind::kConstant);
  expr->value = std::move(value);
  return expr;
}

ExprPtr Parser::Number() {
  const std::string& text = Current().text;
  Value value;
  if (Current().kind == Token::Kind::kFloat) {
    double number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    value = Value(number);
  } else {
    const char prefix = text.size() > 2 ? static_cast<char>(text[1] | 0x20) : '\0';
    const int base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    uint64_t integer = 0;
    const char* begin = text.data() + (base == 10 ? 0 : 2);
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), integer, base);
    if (error != std::errc() || end != text.data() + text.size())
      Fail(fmt::format("the number {} cannot be read", text));
    value = Value(Int{integer});
  }
  Advance();
  return Constant(std::move(value));
}

ExprPtr Parser::Primary() {
  switch (Current().kind) {
    case Token::Kind::kInteger:
    case Token::Kind::kFloat:
      return Number();
    case Token::Kind::kString: {
      std::string text;
      for (; Current().kind == Token::Kind::kString; Advance()) text += Current().text;  // "a" "b" is one
      return Constant(Value::Constant(std::move(text)));
    }
    case Token::Kind::kName: {
      std::unique_ptr<Expr> expr = New(Expr::Kind::kName);
      expr->name = ExpectName("a name");
      if (expr->name == "true" || expr->name == "True") return Constant(Value(true));
      if (expr->name == "false" || expr->name == "False") return Constant(Value(false));
      if (expr->name == "none" || expr->name == "None") return Constant(Value(None{}));
      return expr;
    }
    default:
      break;
  }
  if (AcceptOperator("(")) {
    ExprPtr expr = IsOperator(")") ? Finish(New(Expr::Kind::kTuple)) : TupleOrExpression();
    ExpectOperator(")");
    return expr;
  }
  if (AcceptOperator("[")) return ListLiteral();
  if (AcceptOperator("{")) return DictLiteral();
  Fail(fmt::format("unexpected {}", Describe()));
  return nullptr;
}

ExprPtr Parser::ListLiteral() {
  std::unique_ptr<Expr> list = New(Expr::Kind::kList);
  while (!failed() && !IsOperator("]")) {
    list->operands.push_back(Expression());
    if (!AcceptOperator(",")) break;
  }
  ExpectOperator("]");
  return Finish(std::move(list));
}

ExprPtr Parser::DictLiteral() {
  std::unique_ptr<Expr> dict = New(Expr::Kind::kDict);
  while (!failed() && !IsOperator("}")) {
    dict->operands.push_back(Expression());
    ExpectOperator(":");
    dict->operands.push_back(Expression());
    if (!AcceptOperator(",")) break;
  }
  ExpectOperator("}");
  return Finish(std::move(dict));
}

ExprPtr Parser::Postfix(ExprPtr expr) {
  while (!failed()) {
    if (AcceptOperator(".")) {
      if (Current().kind == Token::Kind::kInteger) {  // "pair.0"
        expr = Make(Expr::Kind::kSubscript, "", std::move(expr), Number());
      } else {
        expr = Make(Expr::Kind::kAttribute, ExpectName("an attribute's name"), std::move(expr));
      }
    } else if (AcceptOperator("[")) {
      expr = Subscript(std::move(expr));
    } else if (IsOperator("(")) {
      expr = CallOf(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr Parser::Subscript(ExprPtr expr) {
  ExprPtr parts[3];
  bool is_slice = false;
  size_t num_parts = 0;
  for (; num_parts < 3 && !failed(); ++num_parts) {
    if (!IsOperator(":") && !IsOperator("]"))
      parts[num_parts] = num_parts == 0 ? TupleOrExpression() : Expression();
    if (!AcceptOperator(":")) break;
    is_slice = true;
  }
  ExpectOperator("]");
  if (!is_slice) {
    if (parts[0] == nullptr) Fail("an empty subscript");
    return Make(Expr::Kind::kSubscript, "", std::move(expr), std::move(parts[0]));
  }
  std::unique_ptr<Expr> slice = New(Expr::Kind::kSlice);
  slice->operands.push_back(std::move(expr));
  for (ExprPtr& part : parts) slice->operands.push_back(std::move(part));
  return Finish(std::move(slice));
}

Arguments Parser::ParseArguments() {
  Arguments arguments;
  ExpectOperator("(");
  while (!failed() && !IsOperator(")")) {
    if (Current().kind == Token::Kind::kName && Next().kind == Token::Kind::kOperator && Next().text == "=") {
      std::string name = ExpectName("a name");
      Advance();
      ExprPtr value = Expression();
      arguments.keyword.emplace_back(std::move(name), std::move(value));
    } else if (IsOperator("*") || IsOperator("**")) {
      Fail("* and ** arguments are not supported");
    } else {
      if (!arguments.keyword.empty()) Fail("a positional argument after a keyword argument");
      arguments.positional.push_back(Expression());
    }
    if (!AcceptOperator(",")) break;
  }
  ExpectOperator(")");
  return arguments;
}

ExprPtr Parser::CallOf(ExprPtr callee) {
  std::unique_ptr<Expr> call = New(Expr::Kind::kCall);
  call->operands.push_back(std::move(callee));
  call->arguments = ParseArguments();
  return Finish(std::move(call));
}

ExprPtr Parser::Filters(ExprPtr expr) {
  while (!failed()) {
    if (AcceptOperator("|")) {
      expr = FilterOf(std::move(expr));
    } else if (AcceptName("is")) {
      expr = TestOf(std::move(expr));
    } else if (IsOperator("(")) {
      expr = CallOf(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr Parser::FilterOf(ExprPtr expr) {
  std::unique_ptr<Expr> filter = New(Expr::Kind::kFilter);
  filter->name = ExpectName("a filter's name");
  if (!failed() && FindFilter(filter->name) == nullptr)
    Fail(fmt::format("no filter named '{}'", filter->name));
  filter->operands.push_back(std::move(expr));
  if (IsOperator("(")) filter->arguments = ParseArguments();
  return Finish(std::move(filter));
}

ExprPtr Parser::TestOf(ExprPtr expr) {
  const bool negated = AcceptName("not");
  std::unique_ptr<Expr> test = New(Expr::Kind::kTest);
  test->name = ExpectName("a test's name");
  if (!failed() && FindTest(test->name) == nullptr) Fail(fmt::format("no test named '{}'", test->name));
  test->operands.push_back(std::move(expr));
  const Token::Kind kind = Current().kind;
  const bool begins_argument =
      kind == Token::Kind::kString || kind == Token::Kind::kInteger || kind == Token::Kind::kFloat ||
      IsOperator("[") || IsOperator("{") ||
      (kind == Token::Kind::kName && !IsName("else") && !IsName("or") && !IsName("and") && !IsName("if") &&
       !IsName("is") && !IsName("in") && !IsName("not") && !IsName("recursive"));
  if (IsOperator("(")) {
    test->arguments = ParseArguments();
  } else if (begins_argument) {
    test->arguments.positional.push_back(Postfix(Primary()));
  }
  ExprPtr result = Finish(std::move(test));
  return negated ? Make(Expr::Kind::kUnary, "not", std::move(result)) : std::move(result);
}

}  // namespace penstock::jinja
