// IncrementalDetokenizer: token by token to text, never half a character; and stop strings that span tokens.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace penstock {

// Not thread-safe; one for each sequence. The time of Push() does not grow with the sequence.
class IncrementalDetokenizer {
 public:
  // `prompt_ids` gives context to the first generated token (a leading space, half a character: a character
  // that begins in the prompt comes out whole with the token that completes it).
  IncrementalDetokenizer(const Tokenizer& tokenizer, std::span<const int32_t> prompt_ids,
                         bool skip_special_tokens);

  // The text that this token completes; empty while a character is incomplete. An id outside the vocabulary
  // (a model's embedding may be padded) is no text.
  std::string Push(int32_t id);
  // What is left at the end: incomplete bytes come out as U+FFFD.
  std::string Flush();

 private:
  bool IsText(int32_t id) const;
  std::string PushBytes(std::string_view bytes);
  std::string PushWindow(int32_t id);
  std::string DecodeWindow(size_t end) const;

  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  const bool by_bytes_;  // the tokenizer's text is the concatenation of its tokens' bytes

  std::string incomplete_;  // by bytes: the beginning of a character

  // Otherwise: text is found by decoding the last few ids with and without the new ones.
  std::vector<int32_t> ids_;
  size_t context_begin_ = 0;  // ids_[context_begin_, read_end_) have been emitted and give context
  size_t read_end_ = 0;
};

// Finds stop strings in text that arrives in pieces, and holds back what may be the beginning of one, no
// more. The stop string that is complete first wins; of several that end with the same byte, the longest.
class StopStringMatcher {
 public:
  // Empty stop strings are ignored.
  StopStringMatcher(std::vector<std::string> stop_strings, bool include_in_output);

  struct Output {
    std::string text;                 // what may be sent now
    std::optional<std::string> stop;  // the stop string that was found; nothing may be pushed after it
  };
  Output Push(std::string_view text);
  // The held-back text, at the end of the sequence.
  std::string Flush();

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // Knuth-Morris-Pratt: border[i] is that of the first i + 1 bytes
    size_t matched = 0;          // the longest prefix that is a suffix of the text so far
  };

  std::vector<Pattern> patterns_;
  const bool include_in_output_;
  std::string held_;
};

}  // namespace penstock
