// SPDX-License-Identifier: Apache-2.0
#include "server/request_parser.h"

#include <algorithm>

#include "server/chat_fields.h"
#include "server/sampling_fields.h"
#include "server/unsupported_fields.h"

namespace penstock {
namespace {

constexpr size_t kMaxIdChars = 256;
constexpr size_t kMaxCacheSaltBytes = 128;

void ParseModel(const RequestRules& rules, RequestFields* fields, std::string* model) {
  *model = fields->String("model").value_or(rules.served_model_names.front());
  const auto& names = rules.served_model_names;
  if (fields->error() || std::find(names.begin(), names.end(), *model) != names.end()) return;
  ApiError error = BadRequest("model", "The model `{}` does not exist.", *model);
  error.http_status = 404;
  fields->Fail(std::move(error));
}

void ParseStream(RequestFields* fields, GenerationRequest* request) {
  request->stream = fields->Bool("stream").value_or(false);
  const std::optional<Json> options = fields->Value("stream_options");
  if (!options) return;
  if (!options->is_object()) {
    fields->Fail(BadRequest("stream_options", "stream_options must be an object"));
    return;
  }
  if (!request->stream) {
    fields->Fail(BadRequest("stream_options", "Stream options can only be defined when `stream=True`."));
    return;
  }
  for (const auto& [name, flag] : {std::pair("include_usage", &request->include_usage),
                                   std::pair("continuous_usage_stats", &request->continuous_usage_stats)}) {
    const auto it = options->find(name);
    if (it == options->end() || it->is_null()) continue;
    if (it->is_boolean())
      *flag = it->get<bool>();
    else
      fields->Fail(BadRequest("stream_options", "stream_options.{} must be a boolean", name));
  }
  request->continuous_usage_stats &= request->include_usage;
}

// How many alternatives; -1, all of the vocabulary, is always more than is allowed.
std::optional<int32_t> ParseLogprobCount(std::string_view name, const RequestRules& rules,
                                         RequestFields* fields) {
  const std::optional<int64_t> count = fields->Int(name, 0, rules.engine.max_logprobs);
  if (!count) return std::nullopt;
  return static_cast<int32_t>(*count);
}

void ParsePromptLogprobs(const RequestRules& rules, RequestFields* fields, GenerationRequest* request) {
  request->prompt_logprobs = ParseLogprobCount("prompt_logprobs", rules, fields);
  if (request->stream && request->prompt_logprobs.value_or(0) > 0) {
    fields->Fail(BadRequest("prompt_logprobs", "`prompt_logprobs` are not available when `stream=True`."));
  }
  if (request->stream) request->prompt_logprobs.reset();
  request->sampling.prompt_logprobs = request->prompt_logprobs;
}

void ParseIdentity(const RequestRules& rules, RequestFields* fields, GenerationRequest* request) {
  request->request_id = fields->String("request_id").value_or("");
  if (fields->Has("request_id") && !IsPlainRequestId(request->request_id)) {
    fields->Fail(
        BadRequest("request_id", "request_id must be 1 to {} printable ASCII characters", kMaxIdChars));
  }
  request->cache_salt = fields->String("cache_salt").value_or("");
  if (fields->Has("cache_salt") &&
      (request->cache_salt.empty() || request->cache_salt.size() > kMaxCacheSaltBytes ||
       request->cache_salt.find_first_of(std::string_view("@/\\\0", 4)) != std::string::npos)) {
    fields->Fail(BadRequest("cache_salt", "cache_salt must be 1 to {} bytes without '@', '/', '\\' or NUL",
                            kMaxCacheSaltBytes));
  }
  request->priority = static_cast<int32_t>(fields->Int("priority", INT32_MIN, INT32_MAX).value_or(0));
  if (request->priority != 0 && !rules.allow_priority) {
    fields->Fail(BadRequest(
        "priority", "priority needs the scheduling policy \"priority\", which this server does not use"));
  }
}

void ParseTokenizeOptions(const RequestRules& rules, bool add_special_tokens, RequestFields* fields,
                          GenerationRequest* request) {
  TokenizeOptions& options = request->tokenize;
  options.add_special_tokens = fields->Bool("add_special_tokens").value_or(add_special_tokens);
  options.truncate_prompt_tokens = fields->Int("truncate_prompt_tokens", -1, rules.engine.max_model_len);
  if (options.truncate_prompt_tokens == 0) {
    fields->Fail(
        BadRequest("truncate_prompt_tokens", "truncate_prompt_tokens must be -1 or at least 1, got 0"));
  }
  if (const std::optional<std::string> side = fields->String("truncation_side")) {
    if (*side != "left" && *side != "right") {
      fields->Fail(BadRequest("truncation_side", "truncation_side must be \"left\" or \"right\""));
    }
    options.truncate_left = *side == "left";
  }
}

// All that the two endpoints share.
void ParseCommon(const RequestRules& rules, RequestFields* fields, GenerationRequest* request) {
  ParseModel(rules, fields, &request->model);
  RejectUnsupportedFields(request->endpoint, fields);
  ParseSamplingFields(rules, fields, request);
  ParseStream(fields, request);
  ParsePromptLogprobs(rules, fields, request);
  ParseIdentity(rules, fields, request);
  request->return_progress = fields->Bool("return_progress").value_or(false);
  if (request->return_progress && !request->stream) {
    fields->Fail(BadRequest("return_progress", "return_progress needs `stream=True`"));
  }
  request->return_metrics = fields->Bool("return_metrics").value_or(false);
  request->return_token_ids = fields->Bool("return_token_ids").value_or(false);
  request->return_tokens_as_token_ids = fields->Bool("return_tokens_as_token_ids").value_or(false);
}

void CheckMinTokens(RequestFields* fields, const GenerationRequest& request) {
  if (fields->error() || !request.max_tokens || request.sampling.min_tokens <= *request.max_tokens) return;
  fields->Fail(BadRequest("min_tokens", "min_tokens must be less than or equal to max_tokens={}, got {}",
                          *request.max_tokens, request.sampling.min_tokens));
}

std::optional<int32_t> ToInt32(std::optional<int64_t> value) {
  if (!value) return std::nullopt;
  return static_cast<int32_t>(*value);
}

}  // namespace

bool IsPlainRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdChars &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
}

std::optional<ApiError> ParseChatRequest(std::string_view body, const RequestRules& rules,
                                         GenerationRequest* request) {
  RequestFields fields(body);
  if (fields.error()) return fields.error();
  request->endpoint = Endpoint::kChat;
  ParseCommon(rules, &fields, request);
  ParseTokenizeOptions(rules, /*add_special_tokens=*/false, &fields, request);
  ParseChatFields(&fields, &request->chat.emplace());

  const std::optional<int32_t> max_tokens = ToInt32(fields.Int("max_tokens", 1, INT32_MAX));
  const std::optional<int32_t> max_completion_tokens =
      ToInt32(fields.Int("max_completion_tokens", 1, INT32_MAX));
  request->max_tokens = max_completion_tokens ? max_completion_tokens : max_tokens;
  CheckMinTokens(&fields, *request);

  const bool logprobs = fields.Bool("logprobs").value_or(false);
  const std::optional<int32_t> top_logprobs = ParseLogprobCount("top_logprobs", rules, &fields);
  if (top_logprobs.value_or(0) > 0 && !logprobs) {
    fields.Fail(BadRequest("top_logprobs", "when using `top_logprobs`, `logprobs` must be set to true."));
  }
  if (logprobs) request->logprobs = request->sampling.logprobs = top_logprobs.value_or(0);
  return fields.error();
}

std::optional<ApiError> ParseCompletionRequest(std::string_view body, const RequestRules& rules,
                                               GenerationRequest* request) {
  RequestFields fields(body);
  if (fields.error()) return fields.error();
  request->endpoint = Endpoint::kCompletions;
  ParseCommon(rules, &fields, request);
  ParseTokenizeOptions(rules, /*add_special_tokens=*/true, &fields, request);

  request->echo = fields.Bool("echo").value_or(false);
  // Zero tokens: to score a prompt, without generating.
  request->max_tokens = ToInt32(fields.Int("max_tokens", 0, INT32_MAX)).value_or(16);
  if (*request->max_tokens == 0 && !request->echo) {
    fields.Fail(BadRequest("max_tokens", "max_tokens must be at least 1, got 0."));
  }
  CheckMinTokens(&fields, *request);

  request->logprobs = request->sampling.logprobs = ParseLogprobCount("logprobs", rules, &fields);
  if (request->echo && request->logprobs && !request->sampling.prompt_logprobs) {
    request->sampling.prompt_logprobs = request->logprobs;
  }
  if (!fields.error())
    request->prompts = fields.Prompts("prompt", rules.engine.vocab_size, rules.max_prompts);
  return fields.error();
}

std::optional<ApiError> ParseTokenizeRequest(std::string_view body, const RequestRules& rules,
                                             TokenizeRequest* request) {
  RequestFields fields(body);
  if (fields.error()) return fields.error();
  std::string model;
  ParseModel(rules, &fields, &model);
  const bool is_chat = fields.Has("messages");
  request->add_special_tokens = fields.Bool("add_special_tokens").value_or(!is_chat);
  request->return_token_strs = fields.Bool("return_token_strs").value_or(false);
  if (is_chat) {
    if (fields.Has("chat_template")) {
      fields.Fail(BadRequest("chat_template", "chat_template is not supported by this server"));
    }
    ParseChatFields(&fields, &request->chat.emplace());
  } else if (std::optional<std::string> prompt = fields.String("prompt")) {
    request->prompt = *std::move(prompt);
  } else {
    fields.Fail(BadRequest("prompt", "prompt or messages must be given"));
  }
  return fields.error();
}

std::optional<ApiError> ParseDetokenizeRequest(std::string_view body, const RequestRules& rules,
                                               DetokenizeRequest* request) {
  RequestFields fields(body);
  if (fields.error()) return fields.error();
  std::string model;
  ParseModel(rules, &fields, &model);
  std::optional<std::vector<TokenId>> tokens = fields.TokenIds("tokens", rules.engine.vocab_size, SIZE_MAX);
  if (!tokens)
    fields.Fail(BadRequest("tokens", "tokens must be given"));
  else
    request->tokens = *std::move(tokens);
  return fields.error();
}

}  // namespace penstock
