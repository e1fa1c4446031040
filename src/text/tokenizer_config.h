// What tokenizer_config.json says about text: special tokens and chat templates. Private to src/text.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

struct TokenizerConfig {
  // In the order of the file: {"bos_token", "<s>"}, … as a chat template sees them.
  std::vector<std::pair<std::string, std::string>> special_tokens;
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  // Given: which of the two goes around every text, whatever tokenizer.json's post-processor does (as
  // transformers has it).
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  // {name, text}; a lone template is named "default".
  std::vector<std::pair<std::string, std::string>> chat_templates;
};

// Reads DIR/tokenizer_config.json, and DIR/special_tokens_map.json for tokens that it lacks; either may be
// missing. kInvalidArgument naming the file and the key.
Result<TokenizerConfig> ReadTokenizerConfig(const std::string& model_dir);

}  // namespace penstock
