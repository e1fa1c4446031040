// Tokens -> IncrementalDetokenizer -> StopStringMatcher. Stop strings count only in what comes after the
// first min_tokens tokens; the text of those goes past the matcher.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/text_stream.h"

#include <string>

#include "text/detokenizer.h"

namespace penstock {
namespace {

class TextStream : public TokenText {
 public:
  TextStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt_ids, const SamplingParams& params)
      : detokenizer_(tokenizer, prompt_ids, params.skip_special_tokens),
        matcher_(params.stop, params.include_stop_str_in_output),
        num_unmatched_(params.min_tokens) {}

  Piece Push(TokenId id) override {
    std::string text = detokenizer_.Push(id);
    if (num_unmatched_ > 0) {
      --num_unmatched_;
      return {.text = std::move(text), .stop = {}};
    }
    return Match(text);
  }

  Piece Flush() override {
    const std::string rest = detokenizer_.Flush();
    if (num_unmatched_ > 0) return {.text = rest, .stop = {}};
    Piece piece = Match(rest);
    if (!piece.stop) piece.text += matcher_.Flush();
    return piece;
  }

 private:
  Piece Match(const std::string& text) {
    StopStringMatcher::Output output = matcher_.Push(text);
    return {.text = std::move(output.text), .stop = std::move(output.stop)};
  }

  IncrementalDetokenizer detokenizer_;
  StopStringMatcher matcher_;
  int32_t num_unmatched_;  // tokens still to come whose text cannot stop the sequence
};

}  // namespace

std::unique_ptr<TokenText> TextStreamFactory::Make(std::span<const TokenId> prompt_ids,
                                                   const SamplingParams& params) {
  return std::make_unique<TextStream>(tokenizer_, prompt_ids, params);
}

}  // namespace penstock
