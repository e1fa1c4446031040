// Tokens to statements: a recursive descent after Jinja2's grammar. Nesting is limited.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace penstock::jinja {

// kInvalidArgument with the line; also for a filter or a test that does not exist.
Result<Block> ParseTemplate(std::string_view source);

}  // namespace penstock::jinja
