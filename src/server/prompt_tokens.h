// From a parsed request to token ids: renders the chat template, tokenises, truncates, and checks lengths
// against the context. Runs in the worker pool; may take long for long prompts.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/generation_request.h"
#include "text/tokenizer.h"

namespace penstock {

struct TokenizedPrompt {
  std::vector<TokenId> ids;  // not empty, inside the vocabulary
  std::string text;          // what echo prints; filled only where the request echoes
};

struct PromptTools {
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // nullptr: the model has none
  const EngineLimits& limits;
};

// The prompt text of a conversation.
std::optional<ApiError> RenderChat(const PromptTools& tools, const ChatTemplateInput& input,
                                   std::string* text);

// All prompts of `request`, which it leaves without them, and request->sampling.max_tokens.
std::optional<ApiError> TokenizePrompts(const PromptTools& tools, GenerationRequest* request,
                                        std::vector<TokenizedPrompt>* prompts);

}  // namespace penstock
