// JSON for configuration and answers. nlohmann is included here and nowhere else.
//
// Request bodies, which can hold a million token ids, are read with simdjson in server/.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace penstock {

// Keeps the order of keys: a chat template prints tools as the client wrote them.
using Json = nlohmann::ordered_json;

// Parses `text`. kInvalidArgument, with nlohmann's position, for text that is not JSON or is nested deeper
// than `max_depth`. `what` names the text in the message ("config.json").
Result<Json> ParseJson(std::string_view text, std::string_view what, int max_depth = 64);

// Reads and parses a file. kNotFound if it cannot be opened.
Result<Json> ReadJsonFile(const std::string& path);

// The whole file. kNotFound if it cannot be opened.
Result<std::string> ReadTextFile(const std::string& path);

}  // namespace penstock
