// SPDX-License-Identifier: Apache-2.0
#include "apps/calibration_texts.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

// A token for each byte; 1 begins a text where special tokens are wanted.
class ByteTokenizer : public Tokenizer {
 public:
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens) ids.push_back(1);
    ids.insert(ids.end(), text.begin(), text.end());
    return ids;
  }
  Result<std::string> Decode(std::span<const int32_t>, bool) const override { return std::string(); }
  int32_t vocab_size() const override { return 256; }
  std::string IdToToken(int32_t) const override { return ""; }
  std::optional<int32_t> TokenToId(std::string_view) const override { return {}; }
  bool IsSpecial(int32_t) const override { return false; }
  std::optional<std::string_view> TokenBytes(int32_t) const override { return {}; }
  const std::optional<std::string>& bos_token() const override { return none_; }
  const std::optional<std::string>& eos_token() const override { return none_; }
  int32_t max_token_bytes() const override { return 1; }

 private:
  std::optional<std::string> none_;
};

Result<Texts> Tokenise(const std::string& text, CalibrationTextLimits limits = {100, 100, 256}) {
  ASSIGN_OR_RETURN(const auto entries, ParseCalibrationFile(text, "file"));
  const auto chat =
      ChatTemplate::FromText("{% for m in messages %}<{{ m.content }}>{% endfor %}", "", "").value();
  return TokeniseCalibration(entries, ByteTokenizer(), chat.get(), limits);
}

TEST(CalibrationTexts, ATextIsCut) {
  EXPECT_EQ(Tokenise("abc").value(), (Texts{{1, 'a', 'b', 'c'}}));
  EXPECT_EQ(Tokenise("{not json\nabc").value()[0].size(), 14u);
  EXPECT_EQ(Tokenise("abcde", {100, 4, 256}).value(), (Texts{{1, 'a', 'b', 'c'}, {'d', 'e'}}));
  EXPECT_EQ(Tokenise("abcde", {5, 4, 256}).value(), (Texts{{1, 'a', 'b', 'c'}, {'d'}}));
}

TEST(CalibrationTexts, JsonLinesAreTextsPromptsAndMessages) {
  const std::string lines =
      "\n{\"text\": \"ab\"}\r\n{\"prompt\": \"c\", \"id\": 3}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"d\"}, {\"role\": \"assistant\", \"content\": "
      "\"e\"}]}";
  EXPECT_EQ(Tokenise(lines).value(), (Texts{{1, 'a', 'b'}, {1, 'c'}, {'<', 'd', '>', '<', 'e', '>'}}));
  EXPECT_EQ(Tokenise(lines, {4, 100, 256}).value(), (Texts{{1, 'a', 'b'}, {1}}));
}

TEST(CalibrationTexts, WhatIsWrongIsNamed) {
  const auto message = [](const std::string& text) { return Tokenise(text).status().message(); };
  const std::string good = "{\"text\": \"ab\"}\n";
  EXPECT_EQ(message(" \n"), "file: there is no text in it");
  EXPECT_EQ(message(good + "{\"txt\": 1}"),
            "file: line 2: expected one of \"text\", \"prompt\" and \"messages\"");
  EXPECT_EQ(message(good + "{\"text\": 1}"), "file: line 2: \"text\" is not a string");
  EXPECT_EQ(message(good + "3"), "file: line 2: not a JSON object");
  EXPECT_EQ(message("{\"messages\": []}"), "file: line 1: \"messages\" is not an array of messages");
  EXPECT_EQ(message(good + "{").substr(0, 22), "file: line 2: not JSON");
  EXPECT_EQ(Tokenise("abc", {100, 100, 99}).status().message(),
            "tokenizer: token id 99, expected less than vocab_size = 99 of config.json");
}

}  // namespace
}  // namespace penstock
