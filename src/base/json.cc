// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace penstock {
namespace {

// The deepest nesting of brackets outside strings. Checked before parsing, because the parser recurses.
int NestingDepth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what, int max_depth) {
  if (const int depth = NestingDepth(text); depth > max_depth) {
    return InvalidArgument("{}: JSON nested {} deep, at most {} is read", what, depth, max_depth);
  }
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return InvalidArgument("{}: not JSON: {}", what, error.what());
  }
}

Result<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("{}: cannot be opened", path);
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return Internal("{}: cannot be read", path);
  return std::move(text).str();
}

Result<Json> ReadJsonFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
  return ParseJson(text, path);
}

}  // namespace penstock
