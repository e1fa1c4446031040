// SPDX-License-Identifier: Apache-2.0
#include "server/prompt_tokens.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

// vLLM's words: clients look for "maximum context length", and some read the numbers to try again with less.
ApiError TooLong(const EngineLimits& limits, int64_t requested_tokens, int64_t prompt_tokens) {
  return BadRequest(
      "input_tokens",
      "This model's maximum context length is {} tokens. However, you requested {} output tokens and your "
      "prompt contains at least {} input tokens, for a total of at least {} tokens. Please reduce the "
      "length of the input prompt or the number of requested output tokens.",
      limits.max_model_len, requested_tokens, prompt_tokens, requested_tokens + prompt_tokens);
}

void Truncate(const EngineLimits& limits, const GenerationRequest& request, std::vector<TokenId>* ids) {
  const TokenizeOptions& options = request.tokenize;
  if (!options.truncate_prompt_tokens) return;
  int64_t keep = *options.truncate_prompt_tokens;
  if (keep < 0) keep = std::max<int64_t>(limits.max_model_len - int64_t{request.max_tokens.value_or(1)}, 1);
  if (static_cast<int64_t>(ids->size()) <= keep) return;
  if (options.truncate_left)
    ids->erase(ids->begin(), ids->end() - keep);
  else
    ids->resize(keep);
}

std::optional<ApiError> Encode(const PromptTools& tools, const GenerationRequest& request,
                               const std::string& text, std::vector<TokenId>* ids) {
  // Without tokenising: n bytes are at least n / max_token_bytes tokens.
  const int64_t least_tokens =
      static_cast<int64_t>(text.size()) / std::max(tools.tokenizer.max_token_bytes(), 1);
  if (least_tokens > tools.limits.max_model_len && !request.tokenize.truncate_prompt_tokens) {
    return TooLong(tools.limits, request.max_tokens.value_or(0), least_tokens);
  }
  Result<std::vector<int32_t>> encoded = tools.tokenizer.Encode(text, request.tokenize.add_special_tokens);
  if (!encoded.ok()) return ErrorFromStatus(encoded.status(), 1);
  *ids = *std::move(encoded);
  for (const TokenId id : *ids) {
    if (id < 0 || id >= tools.limits.vocab_size) {
      return BadRequest("prompt", "the tokenizer gives token id {}, outside the model's vocabulary of {}", id,
                        tools.limits.vocab_size);
    }
  }
  return std::nullopt;
}

std::optional<ApiError> TokenizeOne(const PromptTools& tools, const GenerationRequest& request,
                                    PromptInput input, TokenizedPrompt* prompt) {
  std::string* const text = std::get_if<std::string>(&input);
  if (text) {
    if (auto error = Encode(tools, request, *text, &prompt->ids)) return error;
  } else {
    prompt->ids = std::get<std::vector<TokenId>>(std::move(input));
  }
  const size_t whole = prompt->ids.size();
  Truncate(tools.limits, request, &prompt->ids);
  if (prompt->ids.empty()) return BadRequest("prompt", "the prompt must contain at least one token");

  const int64_t num_tokens = static_cast<int64_t>(prompt->ids.size());
  // Room for one token at least, where the client leaves the number open.
  const int64_t requested =
      request.max_tokens ? *request.max_tokens : (num_tokens == tools.limits.max_model_len ? 1 : 0);
  if (num_tokens + requested > tools.limits.max_model_len)
    return TooLong(tools.limits, requested, num_tokens);

  if (!request.echo) return std::nullopt;
  if (text && prompt->ids.size() == whole) {
    prompt->text = std::move(*text);
  } else if (Result<std::string> decoded = tools.tokenizer.Decode(prompt->ids, /*skip_special_tokens=*/false);
             decoded.ok()) {
    prompt->text = *std::move(decoded);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> RenderChat(const PromptTools& tools, const ChatTemplateInput& input,
                                   std::string* text) {
  if (!tools.chat_template) {
    return BadRequest(
        "messages",
        "this model has no chat template: use /v1/completions, or start the server with a template");
  }
  Result<std::string> rendered = tools.chat_template->Render(input);
  if (!rendered.ok()) return ErrorFromStatus(rendered.status(), 1);
  *text = *std::move(rendered);
  return std::nullopt;
}

std::optional<ApiError> TokenizePrompts(const PromptTools& tools, GenerationRequest* request,
                                        std::vector<TokenizedPrompt>* prompts) {
  if (request->chat) {
    std::string text;
    if (auto error = RenderChat(tools, *request->chat, &text)) return error;
    request->prompts.emplace_back(std::move(text));
  }
  prompts->reserve(request->prompts.size());
  for (PromptInput& input : request->prompts) {
    if (auto error = TokenizeOne(tools, *request, std::move(input), &prompts->emplace_back())) return error;
  }
  request->prompts.clear();
  request->chat.reset();
  return std::nullopt;
}

}  // namespace penstock
