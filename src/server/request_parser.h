// The one place where JSON requests are validated: body of /v1/chat/completions, /v1/completions or /tokenize
// in, plain structs out. Needs no tokenizer; what depends on the prompt's length follows in prompt_tokens.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "server/generation_request.h"

namespace penstock {

// What requests are checked against, and filled in from.
struct RequestRules {
  EngineLimits engine;
  std::vector<std::string> served_model_names;  // not empty; the first answers where none is asked for
  SamplingParams default_sampling;              // of generation_config.json; max_tokens is not used
  std::optional<int32_t>
      default_max_tokens;       // of generation_config.json: an upper bound where none is asked for
  bool allow_priority = false;  // the scheduler's policy is "priority"
  size_t max_prompts = 1024;    // in one completions request
  size_t max_stop_strings = 4;
};

// Whether a request id may be answered, logged and sent back in a header: 1 to 256 printable ASCII
// characters.
bool IsPlainRequestId(std::string_view id);

// Each returns the error, or nothing and fills `request`.
std::optional<ApiError> ParseChatRequest(std::string_view body, const RequestRules& rules,
                                         GenerationRequest* request);
std::optional<ApiError> ParseCompletionRequest(std::string_view body, const RequestRules& rules,
                                               GenerationRequest* request);

struct TokenizeRequest {
  std::optional<ChatTemplateInput> chat;  // else prompt
  std::string prompt;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};
std::optional<ApiError> ParseTokenizeRequest(std::string_view body, const RequestRules& rules,
                                             TokenizeRequest* request);

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
};
std::optional<ApiError> ParseDetokenizeRequest(std::string_view body, const RequestRules& rules,
                                               DetokenizeRequest* request);

}  // namespace penstock
