// Fields are written as a table, so that the document stays as readable as the parser that it describes.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/openapi.h"

#include <span>
#include <string_view>
#include <utility>

#include "base/json.h"

namespace penstock {
namespace {

struct Field {
  std::string_view name;
  std::string_view schema;  // JSON
};

constexpr Field kCommonFields[] = {
    {"model", R"({"type":["string","null"]})"},
    {"stream", R"({"type":["boolean","null"],"default":false})"},
    {"stream_options",
     R"({"type":["object","null"],"properties":{"include_usage":{"type":["boolean","null"]},"continuous_usage_stats":{"type":["boolean","null"]}}})"},
    {"n", R"({"type":["integer","null"],"minimum":1,"default":1})"},
    {"temperature", R"({"type":["number","null"],"minimum":0,"maximum":2})"},
    {"top_p", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":1})"},
    {"top_k", R"({"type":["integer","null"],"minimum":-1,"maximum":2147483647})"},
    {"min_p", R"({"type":["number","null"],"minimum":0,"maximum":1})"},
    {"presence_penalty", R"({"type":["number","null"],"minimum":-2,"maximum":2})"},
    {"frequency_penalty", R"({"type":["number","null"],"minimum":-2,"maximum":2})"},
    {"repetition_penalty", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":1000000})"},
    {"seed", R"({"type":["integer","null"],"minimum":-9223372036854775808,"maximum":9223372036854775807})"},
    {"logit_bias",
     R"({"type":["object","null"],"additionalProperties":{"type":"number","minimum":-100,"maximum":100}})"},
    {"stop",
     R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","items":{"type":"string","minLength":1}},{"type":"null"}]})"},
    {"stop_token_ids", R"({"type":["array","null"],"items":{"type":"integer","minimum":0}})"},
    {"include_stop_str_in_output", R"({"type":["boolean","null"]})"},
    {"ignore_eos", R"({"type":["boolean","null"]})"},
    {"min_tokens", R"({"type":["integer","null"],"minimum":0,"maximum":2147483647})"},
    {"skip_special_tokens", R"({"type":["boolean","null"],"default":true})"},
    {"prompt_logprobs", R"({"type":["integer","null"],"minimum":0})"},
    {"add_special_tokens", R"({"type":["boolean","null"]})"},
    {"truncate_prompt_tokens", R"({"type":["integer","null"],"minimum":-1})"},
    {"truncation_side", R"({"enum":["left","right",null]})"},
    {"priority", R"({"type":["integer","null"]})"},
    {"request_id", R"({"type":["string","null"],"maxLength":256})"},
    {"cache_salt", R"({"type":["string","null"],"minLength":1,"maxLength":128})"},
    {"return_progress", R"({"type":["boolean","null"],"default":false})"},
    {"return_metrics", R"({"type":["boolean","null"],"default":false})"},
    {"return_token_ids", R"({"type":["boolean","null"]})"},
    {"return_tokens_as_token_ids", R"({"type":["boolean","null"]})"},
};

constexpr Field kChatFields[] = {
    {"messages",
     R"({"type":"array","minItems":1,"items":{"type":"object","required":["role"],"properties":{"role":{"type":"string"},"content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object","required":["type","text"],"properties":{"type":{"const":"text"},"text":{"type":"string"}}}},{"type":"null"}]}}}})"},
    {"max_tokens", R"({"type":["integer","null"],"minimum":1,"maximum":2147483647})"},
    {"max_completion_tokens", R"({"type":["integer","null"],"minimum":1,"maximum":2147483647})"},
    {"logprobs", R"({"type":["boolean","null"]})"},
    {"top_logprobs", R"({"type":["integer","null"],"minimum":0})"},
    {"tools", R"({"type":["array","null"],"minItems":1,"items":{"type":"object"}})"},
    {"tool_choice", R"({"enum":["none","auto",null]})"},
    {"parallel_tool_calls", R"({"type":["boolean","null"]})"},
    {"add_generation_prompt", R"({"type":["boolean","null"],"default":true})"},
    {"continue_final_message", R"({"type":["boolean","null"],"default":false})"},
    {"chat_template_kwargs", R"({"type":["object","null"]})"},
    {"reasoning_effort", R"({"type":["string","null"]})"},
};

constexpr Field kCompletionFields[] = {
    {"prompt",
     R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","minItems":1,"items":{"type":"string","minLength":1}},{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}},{"type":"array","minItems":1,"items":{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}}}]})"},
    {"max_tokens", R"({"type":["integer","null"],"minimum":0,"maximum":2147483647,"default":16})"},
    {"logprobs", R"({"type":["integer","null"],"minimum":0})"},
    {"echo", R"({"type":["boolean","null"]})"},
};

constexpr Field kTokenizeFields[] = {
    {"model", R"({"type":["string","null"]})"},
    {"prompt", R"({"type":"string"})"},
    {"messages", R"({"type":"array","minItems":1,"items":{"type":"object"}})"},
    {"add_special_tokens", R"({"type":["boolean","null"]})"},
    {"return_token_strs", R"({"type":["boolean","null"]})"},
};

constexpr Field kDetokenizeFields[] = {
    {"model", R"({"type":["string","null"]})"},
    {"tokens", R"({"type":"array","items":{"type":"integer","minimum":0}})"},
};

constexpr Field kAbortFields[] = {
    {"request_ids", R"({"type":"array","items":{"type":"string"}})"},
};

void AddFields(std::span<const Field> fields, Json* properties) {
  for (const Field& field : fields) (*properties)[std::string(field.name)] = Json::parse(field.schema);
}

Json Schema(std::span<const Field> fields, std::string_view required, bool with_common) {
  Json schema = {{"type", "object"}, {"properties", Json::object()}};
  if (with_common) AddFields(kCommonFields, &schema["properties"]);
  AddFields(fields, &schema["properties"]);
  if (!required.empty()) schema["required"] = Json::array({required});
  return schema;
}

Json Responses(std::string_view content_type) {
  const Json error = {
      {"description", "Error"},
      {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/ErrorResponse"}}}}}}}};
  Json ok = {{"description", "Success"}};
  if (!content_type.empty()) ok["content"][std::string(content_type)] = {{"schema", Json::object()}};
  return {{"200", ok}, {"4XX", error}, {"5XX", error}};
}

Json Get(std::string_view summary, std::string_view content_type = "application/json") {
  return {{"summary", summary}, {"responses", Responses(content_type)}};
}

Json Post(std::string_view summary, std::string_view schema,
          std::string_view content_type = "application/json") {
  Json operation = {{"summary", summary}, {"responses", Responses(content_type)}};
  if (!schema.empty()) {
    operation["requestBody"] = {
        {"required", true},
        {"content",
         {{"application/json", {{"schema", {{"$ref", fmt::format("#/components/schemas/{}", schema)}}}}}}}};
  }
  return operation;
}

}  // namespace

std::string OpenApiDocument(const std::string& version) {
  Json document = {{"openapi", "3.1.0"}, {"info", {{"title", "penstock"}, {"version", version}}}};
  Json& paths = document["paths"];
  paths["/v1/chat/completions"]["post"] = Post("Answer a conversation", "ChatCompletionRequest");
  paths["/v1/completions"]["post"] = Post("Continue a prompt", "CompletionRequest");
  paths["/v1/models"]["get"] = Get("Models that are served");
  paths["/v1/models/{model}"] = {
      {"parameters",
       Json::array(
           {{{"name", "model"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}}})},
      {"get", Get("One model")}};
  paths["/tokenize"]["post"] = Post("Token ids of text or of a conversation", "TokenizeRequest");
  paths["/detokenize"]["post"] = Post("Text of token ids", "DetokenizeRequest");
  paths["/health"]["get"] = Get("200 while the engine can make progress", "");
  paths["/ready"]["get"] = Get("200 while new requests are taken", "");
  paths["/ping"]["get"] = Get("As /health", "");
  paths["/ping"]["post"] = Post("As /health", "", "");
  paths["/version"]["get"] = Get("Version of the server");
  paths["/load"]["get"] = Get("Open requests and the engine's queue");
  paths["/metrics"]["get"] = Get("Metrics for Prometheus", "text/plain");
  paths["/start_profile"]["post"] = Post("Record a timeline of all steps from now on", "", "");
  paths["/stop_profile"]["post"] = Post("End the record, and get it as a Chrome trace", "");
  paths["/server_info"]["get"] = Get("Resolved configuration");
  paths["/reset_prefix_cache"]["post"] = Post("Drop cached prefixes", "", "");
  paths["/abort_requests"]["post"] = Post("End requests by id", "AbortRequest");
  Json& schemas = document["components"]["schemas"];
  schemas["ChatCompletionRequest"] = Schema(kChatFields, "messages", true);
  schemas["CompletionRequest"] = Schema(kCompletionFields, "prompt", true);
  schemas["TokenizeRequest"] = Schema(kTokenizeFields, "", false);
  schemas["DetokenizeRequest"] = Schema(kDetokenizeFields, "tokens", false);
  schemas["AbortRequest"] = Schema(kAbortFields, "request_ids", false);
  schemas["ErrorResponse"] = Json::parse(
      R"({"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["message","type","param","code"],"properties":{"message":{"type":"string"},"type":{"type":"string"},"param":{"type":["string","null"]},"code":{"type":"integer"}}}}})");
  return document.dump();
}

}  // namespace penstock
