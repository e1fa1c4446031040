// Text to value, by the kind of a flag. Messages say what was got and what was expected; callers put the
// flag's name before them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "apps/flag_spec.h"
#include "base/json.h"
#include "base/status.h"

namespace penstock {

// "32", "-1".
Result<int64_t> ParseInt(std::string_view text);

// "2048", "2k" (2000), "2K" (2048), "25.6k"; also m M g G t T. A fraction goes with a decimal suffix only.
Result<int64_t> ParseSize(std::string_view text);

Result<double> ParseFloat(std::string_view text);

// JSON in which bare numbers may have a size suffix: {"bytes": 80m}.
Result<Json> ParseFlagJson(std::string_view text);

// The value of one word, checked against the choices and bounds of `spec`: bool, int64, double, string or
// JSON. A kList gives an array: of one string, or what a JSON array "[…]" holds.
Result<Json> ParseFlagValue(const FlagSpec& spec, const std::string& text);

// The default as a value; null where there is none.
Json FlagDefault(const FlagSpec& spec);

// The numbered value of a dotted key (--x.key text): JSON, else a size, else the text as a string.
Json ParseLooseValue(const std::string& text);

}  // namespace penstock
