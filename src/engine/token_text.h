// TokenText: how the engine sees text. The real one is text_stream.h; tests of the control half have their
// own.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "plan/sampling_params.h"

namespace penstock {

// The text of one sequence's generated tokens. Engine thread.
class TokenText {
 public:
  virtual ~TokenText() = default;

  struct Piece {
    std::string text;  // what may be sent now: whole characters
    std::optional<std::string>
        stop;  // the stop string that the text has come to; no Push() nor Flush() after it
  };
  virtual Piece Push(TokenId id) = 0;
  // The text that was held back, at the end of the sequence. It too may come to a stop string.
  virtual Piece Flush() = 0;
};

class TokenTextFactory {
 public:
  virtual ~TokenTextFactory() = default;
  // Engine thread. `params` gives stop strings and what is shown.
  virtual std::unique_ptr<TokenText> Make(std::span<const TokenId> prompt_ids,
                                          const SamplingParams& params) = 0;
};

}  // namespace penstock
