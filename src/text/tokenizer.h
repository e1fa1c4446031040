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

struct TokenizerOptions {
  // Threads that Encode uses on a long text, the caller's included. 0: min(4, usable cores).
  int num_threads = 0;
};

class Tokenizer {
 public:
  // Reads DIR/tokenizer.json and DIR/tokenizer_config.json (the latter for special tokens; may be missing).
  // kNotFound or kInvalidArgument naming the file.
  static Result<std::unique_ptr<Tokenizer>> Load(const std::string& model_dir,
                                                 const TokenizerOptions& options = TokenizerOptions());
  virtual ~Tokenizer() = default;

  // Token ids of UTF-8 text (invalid bytes are read as U+FFFD). With `add_special_tokens` the tokenizer's own
  // post-processor adds e.g. a begin-of-sequence token; text from a chat template is encoded without.
  // A long text is cut where this tokenizer allows it and encoded on several threads, with the same result.
  // kInvalidArgument if the tokenizer cannot encode the text.
  virtual Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const = 0;

  // Text of token ids. kInvalidArgument for an id outside the vocabulary.
  virtual Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  virtual int32_t vocab_size() const = 0;  // the largest id + 1, with added tokens
  // The token as the vocabulary spells it ("Ġhello"); empty for an unknown id.
  virtual std::string IdToToken(int32_t id) const = 0;
  virtual std::optional<int32_t> TokenToId(std::string_view token) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // The bytes that the token stands for, where decoding is the concatenation of such bytes (byte-level
  // tokenizers); empty for an unknown id. Nothing if this tokenizer's decoder looks at more than one token.
  virtual std::optional<std::string_view> TokenBytes(int32_t id) const = 0;

  // From tokenizer_config.json; text of the token, as chat templates want it.
  virtual const std::optional<std::string>& bos_token() const = 0;
  virtual const std::optional<std::string>& eos_token() const = 0;
  // Text of n bytes has at least n / max_token_bytes tokens: the longest token in bytes, more where the
  // tokenizer normalises, and INT32_MAX where there is no such bound (e.g. it may drop text).
  virtual int32_t max_token_bytes() const = 0;
};

}  // namespace penstock
