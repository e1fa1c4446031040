// A special token is written as a string, as an object with "content" (an AddedToken), or as null.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_config.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

constexpr std::array<const char*, 7> kTokenNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                    "pad_token", "cls_token", "mask_token"};

// Nothing if the file is missing; an object otherwise.
Result<std::optional<Json>> ReadObject(const std::string& path) {
  Result<Json> json = ReadJsonFile(path);
  if (!json.ok() && json.status().code() == StatusCode::kNotFound) return std::optional<Json>();
  if (!json.ok()) return json.status();
  if (!json->is_object()) return InvalidArgument("{}: {}, expected an object", path, json->type_name());
  return std::optional<Json>(*std::move(json));
}

Status ReadSpecialTokens(const Json& config, const std::string& path, TokenizerConfig& out) {
  for (const char* name : kTokenNames) {
    const auto known = [&](const auto& entry) { return entry.first == name; };
    if (!config.contains(name) || config[name].is_null() || std::ranges::any_of(out.special_tokens, known))
      continue;
    const Json& token = config[name];
    const Json& text = token.is_object() && token.contains("content") ? token["content"] : token;
    if (!text.is_string()) {
      return InvalidArgument("{}: {}: {}, expected a string or an object with \"content\"", path, name,
                             token.type_name());
    }
    out.special_tokens.emplace_back(name, text.get<std::string>());
  }
  return OkStatus();
}

Status ReadChatTemplates(const Json& config, const std::string& path, TokenizerConfig& out) {
  if (!config.contains("chat_template") || config["chat_template"].is_null()) return OkStatus();
  const Json& field = config["chat_template"];
  if (field.is_string()) {
    out.chat_templates.emplace_back("default", field.get<std::string>());
    return OkStatus();
  }
  const auto is_string_at = [](const Json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string();
  };
  if (!field.is_array()) {
    return InvalidArgument("{}: chat_template: {}, expected a string or a list", path, field.type_name());
  }
  for (const Json& entry : field) {
    if (!is_string_at(entry, "name") || !is_string_at(entry, "template")) {
      return InvalidArgument("{}: chat_template: an entry without \"name\" and \"template\"", path);
    }
    out.chat_templates.emplace_back(entry["name"].get<std::string>(), entry["template"].get<std::string>());
  }
  return OkStatus();
}

std::optional<bool> BoolAt(const Json& config, const char* key) {
  if (!config.contains(key) || !config[key].is_boolean()) return std::nullopt;
  return config[key].get<bool>();
}

std::optional<std::string> Find(const TokenizerConfig& config, std::string_view name) {
  for (const auto& [key, text] : config.special_tokens) {
    if (key == name) return text;
  }
  return std::nullopt;
}

}  // namespace

Result<TokenizerConfig> ReadTokenizerConfig(const std::string& model_dir) {
  TokenizerConfig config;
  const std::string path = model_dir + "/tokenizer_config.json";
  ASSIGN_OR_RETURN(const std::optional<Json> json, ReadObject(path));
  if (json) {
    RETURN_IF_ERROR(ReadSpecialTokens(*json, path, config));
    RETURN_IF_ERROR(ReadChatTemplates(*json, path, config));
    config.add_bos_token = BoolAt(*json, "add_bos_token");
    config.add_eos_token = BoolAt(*json, "add_eos_token");
  }
  const std::string map_path = model_dir + "/special_tokens_map.json";
  ASSIGN_OR_RETURN(const std::optional<Json> map, ReadObject(map_path));
  if (map) RETURN_IF_ERROR(ReadSpecialTokens(*map, map_path, config));
  config.bos_token = Find(config, "bos_token");
  config.eos_token = Find(config, "eos_token");
  return config;
}

}  // namespace penstock
