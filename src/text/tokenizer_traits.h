// What can be told of a tokenizer from its parts, as tokenizer.json spells them. Private to src/text.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/json.h"
#include "text/text_cutter.h"

namespace penstock {

struct TokenizerParts {
  Json normalizer, pre_tokenizer, decoder;  // null: none
  Json model;                               // without its vocabulary
  Json added_tokens;                        // [[id, {"content", "special", "lstrip", …}], …]
};

struct TokenizerTraits {
  bool byte_level_decoder = false;  // text is the concatenation of the tokens' bytes
  bool byte_level_encoder = false;  // every byte of text goes into a token, where all 256 bytes are tokens
  // Every byte of text ends up in a token, and a token of b bytes stands for at most b * this of the text.
  std::optional<int> bytes_factor;
  // The cuts that are conceivable; whether the regular expressions allow them is to be tested.
  CutRules cuts;
};

TokenizerTraits ReadTraits(const TokenizerParts& parts);

}  // namespace penstock
