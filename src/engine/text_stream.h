// TextStreamFactory: text of tokens through a Tokenizer, with stop strings.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "engine/token_text.h"

namespace penstock {

class Tokenizer;

class TextStreamFactory : public TokenTextFactory {
 public:
  explicit TextStreamFactory(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}  // which outlives it
  std::unique_ptr<TokenText> Make(std::span<const TokenId> prompt_ids, const SamplingParams& params) override;

 private:
  const Tokenizer& tokenizer_;
};

}  // namespace penstock
