// What the engine's tests share: text without a tokenizer, and a sink that remembers.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "engine/token_text.h"

namespace penstock {

// Token i is the letter i % 26; the letter that completes a stop string is held back.
class LetterText : public TokenText {
 public:
  explicit LetterText(const SamplingParams& params) : params_(params) {}

  static char Letter(TokenId id) { return static_cast<char>('a' + id % 26); }

  Piece Push(TokenId id) override {
    Piece piece{.text = std::string(1, Letter(id)), .stop = {}};
    all_ += piece.text;
    for (const std::string& stop : params_.stop) {
      if (!all_.ends_with(stop)) continue;
      piece.stop = stop;
      if (!params_.include_stop_str_in_output) piece.text.clear();
    }
    return piece;
  }
  Piece Flush() override { return {.text = "!", .stop = {}}; }

 private:
  const SamplingParams params_;
  std::string all_;
};

class LetterTexts : public TokenTextFactory {
 public:
  std::unique_ptr<TokenText> Make(std::span<const TokenId>, const SamplingParams& params) override {
    return std::make_unique<LetterText>(params);
  }
};

// All that a request's sink was given.
struct Received {
  std::string text;
  std::vector<TokenId> token_ids;
  std::vector<PositionLogprobs> logprobs;
  std::vector<PositionLogprobs> prompt_logprobs;
  std::vector<PromptProgress> progress;
  RequestOutput last;  // the latest output
  int num_outputs = 0;
  int num_finishes = 0;
  int num_after_finish = 0;

  bool finished() const { return num_finishes > 0; }
  FinishReason reason() const { return last.finish_reason; }

  void Take(RequestOutput output) {
    num_after_finish += num_finishes > 0;
    ++num_outputs;
    num_finishes += output.finish_reason != FinishReason::kNone;
    text += output.text;
    token_ids.insert(token_ids.end(), output.token_ids.begin(), output.token_ids.end());
    logprobs.insert(logprobs.end(), output.logprobs.begin(), output.logprobs.end());
    prompt_logprobs.insert(prompt_logprobs.end(), output.prompt_logprobs.begin(),
                           output.prompt_logprobs.end());
    progress.insert(progress.end(), output.progress.begin(), output.progress.end());
    last = std::move(output);
  }
};

inline std::vector<TokenId> CountingPrompt(int32_t len, TokenId first = 0) {
  std::vector<TokenId> ids(len);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

inline Request MakeRequest(std::string id, std::vector<TokenId> prompt_ids, int32_t max_tokens) {
  Request request;
  request.request_id = std::move(id);
  request.prompt_ids = std::move(prompt_ids);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

}  // namespace penstock
