// What filters and string methods share: functions on text. All count against the budget.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/builtins.h"

namespace penstock::jinja {

std::string MapChars(std::string_view text, char32_t (*map)(char32_t));
std::string Capitalize(std::string_view text);
// At most `max_count` times; all if that is negative.
Value ReplaceAll(Context& context, std::string_view text, std::string_view from, std::string_view to,
                 Int max_count);
// "%s and %d" with the call's positional arguments.
Value PercentFormat(Call& call, std::string_view format);
// "{} and {name}" with the call's arguments.
Value BraceFormat(Call& call, std::string_view format);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

}  // namespace penstock::jinja
