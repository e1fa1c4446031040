// Values as Python prints them: str(), repr() and json.dumps().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace penstock::jinja {

// str(value). The budget is checked on the way, because a small value may print large.
std::string ToStr(Context& context, const Value& value);
// Appends repr(value).
void AppendRepr(Context& context, const Value& value, std::string& out);
// "1.0", "1e-05", "1e+16", "inf".
std::string FloatRepr(double number);
std::string IntText(Int integer);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one element a line, indented by `indent` for each level
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps(value). Fails for what JSON does not have, as Python does.
std::string JsonDumps(Context& context, const Value& value, const JsonStyle& style);

}  // namespace penstock::jinja
