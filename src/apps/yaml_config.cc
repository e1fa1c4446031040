// SPDX-License-Identifier: Apache-2.0
#include "apps/yaml_config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "apps/flag_value.h"
#include "apps/flags.h"
#include "base/json.h"

namespace penstock {
namespace {

constexpr int kMaxDepth = 32;

// YAML 1.1 as PyYAML's safe loader reads it: unquoted words have types.
Json ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return Json(text);  // quoted
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "true" || lower == "yes" || lower == "on") return Json(true);
  if (lower == "false" || lower == "no" || lower == "off") return Json(false);
  if (lower.empty() || lower == "null" || lower == "~") return Json();
  if (Result<int64_t> value = ParseInt(text); value.ok()) return Json(*value);
  if (Result<double> value = ParseFloat(text); value.ok()) return Json(*value);
  return Json(text);
}

Result<Json> NodeToJson(const YAML::Node& node, int depth) {
  if (depth > kMaxDepth) return InvalidArgument("nested deeper than {}", kMaxDepth);
  if (node.IsScalar()) return ScalarToJson(node);
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YAML::Node& item : node) {
      ASSIGN_OR_RETURN(Json value, NodeToJson(item, depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }
  if (node.IsMap()) {
    Json map = Json::object();
    for (const auto& entry : node) {
      ASSIGN_OR_RETURN(map[entry.first.as<std::string>()], NodeToJson(entry.second, depth + 1));
    }
    return map;
  }
  return Json();
}

Status AppendWords(const std::string& key, const YAML::Node& node, const FlagTable& table,
                   std::vector<std::string>* words) {
  std::string name = key;
  std::replace(name.begin(), name.end(), '_', '-');
  const FlagSpec* spec = FindFlag(table, name);
  Result<Json> value = NodeToJson(node, 0);
  if (!value.ok()) return value.status().WithContext(key);
  if (value->is_null()) return OkStatus();
  if (value->is_boolean() && spec != nullptr && spec->kind == FlagKind::kBool) {
    words->push_back((value->get<bool>() ? "--" : "--no-") + name);
  } else if (value->is_array() && spec != nullptr && spec->kind == FlagKind::kList) {
    for (const Json& item : *value) {
      words->push_back("--" + name + "=" + (item.is_string() ? item.get<std::string>() : item.dump()));
    }
  } else if (value->is_structured()) {
    words->push_back("--" + name + "=" + value->dump());
  } else {
    words->push_back("--" + name + "=" + node.Scalar());
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<std::string>> ParseYamlConfig(const std::string& text, const FlagTable& table) {
  std::vector<std::string> words;
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return words;
    if (!root.IsMap()) return InvalidArgument("expected lines of \"flag: value\"");
    for (const auto& entry : root) {
      const std::string key = entry.first.as<std::string>();
      if (key == "config") return InvalidArgument("config: a file cannot name another file");
      RETURN_IF_ERROR(AppendWords(key, entry.second, table, &words));
    }
  } catch (const YAML::Exception& error) {
    return InvalidArgument("not YAML: {}", error.what());
  }
  return words;
}

Result<std::vector<std::string>> ReadYamlConfig(const std::string& path, const FlagTable& table) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  Result<std::vector<std::string>> words = ParseYamlConfig(text, table);
  if (!words.ok()) return words.status().WithContext(path);
  return words;
}

}  // namespace penstock
