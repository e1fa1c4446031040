// SPDX-License-Identifier: Apache-2.0
#include "server/tokenize_endpoints.h"

#include <utility>

#include "server/json_writer.h"

namespace penstock {
namespace {

HttpResponse JsonResponse(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

}  // namespace

HttpResponse AnswerTokenize(const PromptTools& tools, const RequestRules& rules, const std::string& body) {
  TokenizeRequest request;
  if (auto error = ParseTokenizeRequest(body, rules, &request)) return ErrorHttpResponse(*error);
  if (request.chat) {
    if (auto error = RenderChat(tools, *request.chat, &request.prompt)) return ErrorHttpResponse(*error);
  }
  const Result<std::vector<int32_t>> ids = tools.tokenizer.Encode(request.prompt, request.add_special_tokens);
  if (!ids.ok()) return ErrorHttpResponse(ErrorFromStatus(ids.status(), 1));

  std::string text;
  JsonWriter json(&text);
  json.BeginObject().Key("count").Int(static_cast<int64_t>(ids->size()));
  json.Key("max_model_len").Int(rules.engine.max_model_len).Key("tokens").BeginArray();
  for (const int32_t id : *ids) json.Int(id);
  json.EndArray().Key("token_strs");
  if (request.return_token_strs) {
    json.BeginArray();
    for (const int32_t id : *ids) json.String(tools.tokenizer.IdToToken(id));
    json.EndArray();
  } else {
    json.Null();
  }
  json.EndObject();
  return JsonResponse(std::move(text));
}

HttpResponse AnswerDetokenize(const PromptTools& tools, const RequestRules& rules, const std::string& body) {
  DetokenizeRequest request;
  if (auto error = ParseDetokenizeRequest(body, rules, &request)) return ErrorHttpResponse(*error);
  const Result<std::string> prompt = tools.tokenizer.Decode(request.tokens, /*skip_special_tokens=*/false);
  if (!prompt.ok()) return ErrorHttpResponse(ErrorFromStatus(prompt.status(), 1));
  std::string text;
  JsonWriter(&text).BeginObject().Key("prompt").String(*prompt).EndObject();
  return JsonResponse(std::move(text));
}

}  // namespace penstock
