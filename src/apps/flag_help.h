// Help texts, made from the tables of flags.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "apps/flag_spec.h"

namespace penstock {

inline constexpr std::string_view kPenstockVersion = "0.1.0";

// `penstock --help`.
std::string MainHelp();

// Help of one command. `keyword` empty: usage and the flags that work. "all": every flag. A group's name, any
// case: that group. Another word: flags whose name has it. `usage` and `about` are the first lines.
std::string CommandHelp(std::string_view usage, std::string_view about, const FlagTable& table,
                        std::string_view keyword);

}  // namespace penstock
