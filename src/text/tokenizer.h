// Tokenizer: text to token ids and back, by the model directory's tokenizer.json (Hugging Face format).
//
// Thread-safe once loaded: all methods are const.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock {

class Tokenizer {
 public:
  // Reads DIR/tokenizer.json and DIR/tokenizer_config.json (the latter for special tokens; may be missing).
  static Result<std::unique_ptr<Tokenizer>> Load(const std::string& model_dir);
  virtual ~Tokenizer() = default;

  // Token ids of UTF-8 text (invalid bytes are read as U+FFFD). With `add_special_tokens` the tokenizer's own
  // post-processor adds e.g. a begin-of-sequence token; text from a chat template is encoded without.
  virtual Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const = 0;

  // Text of token ids. kInvalidArgument for an id outside the vocabulary.
  virtual Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  virtual int32_t vocab_size() const = 0;  // with added tokens
  // The token as the vocabulary spells it ("Ġhello"); empty for an unknown id.
  virtual std::string IdToToken(int32_t id) const = 0;
  virtual std::optional<int32_t> TokenToId(std::string_view token) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;

  // From tokenizer_config.json; text of the token, as chat templates want it.
  virtual const std::optional<std::string>& bos_token() const = 0;
  virtual const std::optional<std::string>& eos_token() const = 0;
  // The longest token in bytes: text of n bytes has at least n / max_token_bytes tokens.
  virtual int32_t max_token_bytes() const = 0;
};

}  // namespace penstock
