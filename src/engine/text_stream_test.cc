// SPDX-License-Identifier: Apache-2.0
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace penstock {
namespace {

// A byte-level vocabulary of a few tokens; the last one is special.
class SmallTokenizer : public Tokenizer {
 public:
  Result<std::vector<int32_t>> Encode(std::string_view, bool) const override {
    return Unimplemented("not needed here");
  }
  Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string text;
    for (int32_t id : ids) text += skip_special_tokens && IsSpecial(id) ? "" : tokens_[id];
    return text;
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  std::string IdToToken(int32_t id) const override { return tokens_[id]; }
  std::optional<int32_t> TokenToId(std::string_view) const override { return std::nullopt; }
  bool IsSpecial(int32_t id) const override { return id + 1 == vocab_size(); }
  std::optional<std::string_view> TokenBytes(int32_t id) const override { return tokens_[id]; }
  const std::optional<std::string>& bos_token() const override { return none_; }
  const std::optional<std::string>& eos_token() const override { return none_; }
  int32_t max_token_bytes() const override { return 5; }

 private:
  const std::vector<std::string> tokens_ = {"he", "llo", " wor", "ld", "\xe2\x82", "\xac", "</s>"};
  const std::optional<std::string> none_;
};

class TextStreamTest : public testing::Test {
 protected:
  std::unique_ptr<TokenText> Make(const SamplingParams& params) { return factory_.Make({}, params); }

  SmallTokenizer tokenizer_;
  TextStreamFactory factory_{tokenizer_};
};

TEST_F(TextStreamTest, WholeCharactersOnly) {
  const auto text = Make({});
  EXPECT_EQ(text->Push(0).text, "he");
  EXPECT_EQ(text->Push(4).text, "");
  EXPECT_EQ(text->Push(5).text, "€");
  EXPECT_EQ(text->Push(4).text, "");
  EXPECT_EQ(text->Flush().text, "\xef\xbf\xbd");
}

TEST_F(TextStreamTest, SpecialTokensAreShownOnRequest) {
  SamplingParams params;
  EXPECT_EQ(Make(params)->Push(6).text, "");
  params.skip_special_tokens = false;
  EXPECT_EQ(Make(params)->Push(6).text, "</s>");
}

TEST_F(TextStreamTest, StopStringAcrossTokens) {
  SamplingParams params;
  params.stop = {"o wo"};
  const auto text = Make(params);
  EXPECT_EQ(text->Push(0).text, "he");
  EXPECT_EQ(text->Push(1).text, "ll");  // the o may begin the stop string
  const TokenText::Piece piece = text->Push(2);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.stop, "o wo");
}

TEST_F(TextStreamTest, WhatWasHeldBackComesAtTheEnd) {
  SamplingParams params;
  params.stop = {"o wo"};
  const auto text = Make(params);
  text->Push(0);
  text->Push(1);
  const TokenText::Piece rest = text->Flush();
  EXPECT_EQ(rest.text, "o");
  EXPECT_FALSE(rest.stop.has_value());
}

TEST_F(TextStreamTest, StopStringsCountAfterMinTokens) {
  SamplingParams params;
  params.stop = {"he"};
  params.min_tokens = 2;
  const auto text = Make(params);
  EXPECT_EQ(text->Push(0).text, "he");
  EXPECT_EQ(text->Push(1).text, "llo");
  EXPECT_EQ(text->Push(0).stop, "he");
}

}  // namespace
}  // namespace penstock
