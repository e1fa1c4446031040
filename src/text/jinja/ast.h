// What a template is parsed into: expressions and statements. Plain data, never changed after parsing.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace penstock::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
};

struct Expr {
  enum class Kind {
    kConstant,   // value
    kName,       // name
    kList,       // operands
    kTuple,      // operands
    kDict,       // operands: key, value, key, value, …
    kUnary,      // name: "-", "+", "not"; operands[0]
    kBinary,     // name: "+", "-", "*", "/", "//", "%", "**"; operands[0], operands[1]
    kConcat,     // operands: "~" of all
    kAnd,        // operands[0], operands[1]
    kOr,         // operands[0], operands[1]
    kCompare,    // operands[0] ops[0] operands[1] ops[1] operands[2] …
    kCondition,  // operands: condition, then, and possibly else
    kAttribute,  // operands[0] . name
    kSubscript,  // operands[0] [ operands[1] ]
    kSlice,      // operands[0] [ operands[1] : operands[2] : operands[3] ], each of the three may be null
    kCall,       // operands[0] ( arguments )
    kFilter,     // operands[0] | name ( arguments ); operands[0] is null in {% filter %}
    kTest,       // operands[0] is name ( arguments )
  };
  Kind kind;
  int line = 0;
  int depth = 1;  // of this tree
  std::string name;
  Value value;
  std::vector<ExprPtr> operands;
  std::vector<std::string> ops;
  Arguments arguments;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<const Stmt>>;

// What a value is assigned to: one name, one attribute of a namespace (name.attribute), or several of these.
struct Target {
  std::string name;
  std::string attribute;
  std::vector<Target> parts;
};

struct Stmt {
  enum class Kind {
    kText,      // text
    kOutput,    // expr
    kIf,        // branches: condition (null: else) and body
    kFor,       // target, expr, condition (may be null), body, else_body, recursive
    kSet,       // target, expr
    kSetBlock,  // target, filter (may be null), body
    kMacro,     // name, parameters, body
    kCall,      // expr (a call), parameters of caller(), body
    kFilter,    // filter, body
    kWith,      // assignments, body
    kBody,      // body: {% generation %}
    kBreak,
    kContinue,
  };
  struct Branch {
    ExprPtr condition;
    Block body;
  };
  struct Parameter {
    std::string name;
    ExprPtr otherwise;  // may be null
  };
  Kind kind;
  int line = 0;
  std::string text;
  std::string name;
  ExprPtr expr;
  ExprPtr condition;
  ExprPtr filter;
  Target target;
  bool recursive = false;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<Target, ExprPtr>> assignments;
  Block body;
  Block else_body;
};

}  // namespace penstock::jinja
