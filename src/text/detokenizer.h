// IncrementalDetokenizer: token by token to text, never half a character; and stop strings that span tokens.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace penstock {

// Not thread-safe; one for each sequence.
class IncrementalDetokenizer {
 public:
  // `prompt_ids` gives context to the first generated token (a leading space, half a character).
  IncrementalDetokenizer(const Tokenizer& tokenizer, std::span<const int32_t> prompt_ids, bool skip_special_tokens);

  // The text that this token completes; empty while a character is incomplete.
  std::string Push(int32_t id);
  // What is left at the end: incomplete bytes come out as U+FFFD.
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  std::vector<int32_t> ids_;
  size_t prefix_begin_ = 0;  // ids_[prefix_begin_, read_end_) have been emitted and give context
  size_t read_end_ = 0;
};

// Finds stop strings in text that arrives in pieces, and holds back what may be the beginning of one.
class StopStringMatcher {
 public:
  StopStringMatcher(std::vector<std::string> stop_strings, bool include_in_output);

  struct Output {
    std::string text;                 // what may be sent now
    std::optional<std::string> stop;  // the stop string that was found; nothing may be pushed after it
  };
  Output Push(std::string_view text);
  // The held-back text, at the end of the sequence.
  std::string Flush();

 private:
  const std::vector<std::string> stop_strings_;
  const bool include_in_output_;
  std::string held_;
};

}  // namespace penstock
