// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/detokenizer.h"

namespace penstock {
namespace {

struct Found {
  std::string text;
  std::optional<std::string> stop;
  bool operator==(const Found&) const = default;
};

// By definition: the first end of a stop string in the text; of those that end there, the longest.
Found BruteForce(const std::string& text, const std::vector<std::string>& stops, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> best;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop) && (!best || stop.size() > best->size()))
        best = stop;
    }
    if (best) return {text.substr(0, include ? end : end - best->size()), best};
  }
  return {text, std::nullopt};
}

// The longest suffix of `text` that is a proper prefix of a stop string.
size_t MustHold(const std::string& text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t len = 1; len < stop.size() && len <= text.size(); ++len) {
      if (text.ends_with(stop.substr(0, len))) longest = std::max(longest, len);
    }
  }
  return longest;
}

TEST(StopStrings, AgreesWithBruteForceForAnyPieces) {
  std::mt19937 random(3);
  const auto random_text = [&](size_t max_len) {
    std::string text(1 + random() % max_len, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    return text;
  };
  int num_found = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + random() % 4);
    for (std::string& stop : stops) stop = random_text(6);
    const std::string text = random_text(40);
    const bool include = random() % 2 == 0;

    StopStringMatcher matcher(stops, include);
    Found result;
    for (size_t begin = 0; begin < text.size() && !result.stop;) {
      const size_t len = std::min<size_t>(random() % 6, text.size() - begin);
      StopStringMatcher::Output output = matcher.Push(text.substr(begin, len));
      begin += len;
      result.text += output.text;
      result.stop = output.stop;
      if (!result.stop) {
        // Minimal hold-back.
        ASSERT_EQ(result.text.size(), begin - MustHold(text.substr(0, begin), stops));
      }
    }
    if (!result.stop) result.text += matcher.Flush();
    ASSERT_EQ(result, BruteForce(text, stops, include)) << text;
    num_found += result.stop.has_value();
  }
  EXPECT_GT(num_found, 5000);
  EXPECT_LT(num_found, 19000);
}

TEST(StopStrings, SpansPieces) {
  StopStringMatcher matcher({"<|im_end|>"}, false);
  EXPECT_EQ(matcher.Push("Hello <|im").text, "Hello ");
  EXPECT_EQ(matcher.Push("_e").text, "");
  const StopStringMatcher::Output output = matcher.Push("nd|> more");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.stop, "<|im_end|>");
}

TEST(StopStrings, FalseAlarmIsReleased) {
  StopStringMatcher matcher({"stop"}, false);
  EXPECT_EQ(matcher.Push("a sto").text, "a ");
  EXPECT_EQ(matcher.Push("re s").text, "store ");
  EXPECT_EQ(matcher.Flush(), "s");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopStrings, IncludedInTheOutput) {
  StopStringMatcher matcher({"\n\n"}, true);
  EXPECT_EQ(matcher.Push("line\n").text, "line");
  const StopStringMatcher::Output output = matcher.Push("\nnext");
  EXPECT_EQ(output.text, "\n\n");
  EXPECT_EQ(output.stop, "\n\n");
}

TEST(StopStrings, NoneAndEmptyOnesLetEverythingThrough) {
  StopStringMatcher none({}, false);
  EXPECT_EQ(none.Push("abc").text, "abc");
  StopStringMatcher empty({""}, false);
  EXPECT_EQ(empty.Push("abc").text, "abc");
  EXPECT_EQ(empty.Push("").stop, std::nullopt);
}

}  // namespace
}  // namespace penstock
