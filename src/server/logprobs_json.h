// Log-probabilities as the two APIs print them. -infinity is printed as -9999, as elsewhere in this field.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "plan/step.h"
#include "server/json_writer.h"
#include "text/tokenizer.h"

namespace penstock {

class LogprobsPrinter {
 public:
  // `as_token_ids`: tokens are printed as "token_id:17" instead of their text.
  LogprobsPrinter(const Tokenizer& tokenizer, bool as_token_ids)
      : tokenizer_(tokenizer), as_token_ids_(as_token_ids) {}

  std::string TokenText(TokenId id) const;

  // {"content":[{"token","logprob","bytes","top_logprobs":[…]}]}
  void Chat(std::span<const PositionLogprobs> positions, int32_t num_top, JsonWriter* json) const;

  // {"text_offset":[…],"token_logprobs":[…],"tokens":[…],"top_logprobs":[…]}. `echoed` are the prompt's
  // tokens before the generated ones: echoed_logprobs[i] is of echoed[i + 1], the first has none.
  void Completion(std::span<const TokenId> echoed, std::span<const PositionLogprobs> echoed_logprobs,
                  std::span<const PositionLogprobs> positions, int32_t num_top, int64_t text_offset,
                  JsonWriter* json) const;

  // [null, {"17":{"logprob","rank","decoded_token"}, …}, …]: one entry for each prompt token.
  void Prompt(std::span<const PositionLogprobs> positions, JsonWriter* json) const;

 private:
  void TopOfCompletion(const PositionLogprobs& position, int32_t num_top, JsonWriter* json) const;

  const Tokenizer& tokenizer_;
  const bool as_token_ids_;
};

}  // namespace penstock
