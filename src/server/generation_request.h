// GenerationRequest: what one HTTP request for text asks, whichever endpoint it came to, validated as far as
// it can be before the prompt is tokenised.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/sampling_params.h"
#include "server/request_fields.h"
#include "text/chat_template.h"

namespace penstock {

enum class Endpoint { kChat, kCompletions };

// How prompts become token ids.
struct TokenizeOptions {
  bool add_special_tokens = true;
  std::optional<int64_t> truncate_prompt_tokens;  // -1: to what the context leaves
  bool truncate_left = true;                      // keep the last tokens, else the first
};

struct GenerationRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string model;       // the served name to answer with
  std::string request_id;  // as the client set it; may be empty

  std::optional<ChatTemplateInput> chat;  // kChat
  std::vector<PromptInput> prompts;       // kCompletions
  TokenizeOptions tokenize;

  SamplingParams sampling;            // max_tokens is set once the prompt's length is known
  std::optional<int32_t> max_tokens;  // absent: what the context leaves
  int32_t n = 1;
  int32_t priority = 0;
  std::string cache_salt;

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage_stats = false;

  bool echo = false;                       // kCompletions
  std::optional<int32_t> logprobs;         // how many alternatives to print beside each token
  std::optional<int32_t> prompt_logprobs;  // to be printed as such (echo needs them otherwise)
  bool return_progress = false;            // "prompt_progress" events; with `stream` only
  bool return_metrics = false;             // "metrics"
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
};

}  // namespace penstock
