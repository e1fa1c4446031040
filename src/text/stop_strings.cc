// One Knuth-Morris-Pratt automaton for each stop string: per byte a step forward, and the longest partial
// match of all is what must be held back.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "text/detokenizer.h"

namespace penstock {
namespace {

// The longest prefix of `pattern` that is a suffix of (its first `matched` bytes + `byte`).
size_t Step(const std::string& pattern, const std::vector<size_t>& border, size_t matched, char byte) {
  while (matched > 0 && pattern[matched] != byte) matched = border[matched - 1];
  return pattern[matched] == byte ? matched + 1 : 0;
}

std::vector<size_t> Borders(const std::string& pattern) {
  std::vector<size_t> border(pattern.size(), 0);
  for (size_t i = 1; i < pattern.size(); ++i) border[i] = Step(pattern, border, border[i - 1], pattern[i]);
  return border;
}

}  // namespace

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings, bool include_in_output)
    : include_in_output_(include_in_output) {
  for (std::string& text : stop_strings) {
    if (text.empty()) continue;
    std::vector<size_t> border = Borders(text);
    patterns_.push_back({std::move(text), std::move(border)});
  }
}

StopStringMatcher::Output StopStringMatcher::Push(std::string_view text) {
  held_ += text;
  size_t to_hold = 0;
  for (size_t i = held_.size() - text.size(); i < held_.size(); ++i) {
    const Pattern* found = nullptr;
    to_hold = 0;
    for (Pattern& pattern : patterns_) {
      pattern.matched = Step(pattern.text, pattern.border, pattern.matched, held_[i]);
      to_hold = std::max(to_hold, pattern.matched);
      const bool complete = pattern.matched == pattern.text.size();
      if (complete && (found == nullptr || pattern.text.size() > found->text.size())) found = &pattern;
    }
    if (found != nullptr) {
      held_.resize(i + 1 - (include_in_output_ ? 0 : found->text.size()));
      return {std::exchange(held_, {}), found->text};
    }
  }
  if (text.empty()) return {};
  Output output{held_.substr(0, held_.size() - to_hold), std::nullopt};
  held_.erase(0, output.text.size());
  return output;
}

std::string StopStringMatcher::Flush() {
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  return std::exchange(held_, {});
}

}  // namespace penstock
