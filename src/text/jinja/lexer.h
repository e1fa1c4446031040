// Template text to tokens, with the white space control of Jinja2 under trim_blocks and lstrip_blocks (as
// transformers sets them): a newline after a block tag goes, and so does white space before a block tag on
// its line.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock::jinja {

struct Token {
  enum class Kind {
    kText,         // text outside of tags
    kOutputBegin,  // {{
    kOutputEnd,    // }}
    kBlockBegin,   // {%
    kBlockEnd,     // %}
    kName,
    kInteger,   // text: decimal, 0x…, 0o…, 0b…, without underscores
    kFloat,     // text
    kString,    // text: unescaped
    kOperator,  // text
    kEnd,
  };
  Kind kind;
  int line;
  std::string text;
};

// kInvalidArgument with the line.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace penstock::jinja
