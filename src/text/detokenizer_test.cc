// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/testdata.h"
#include "text/utf8.h"

namespace penstock {
namespace {

using Ids = std::vector<int32_t>;

bool IsValidUtf8(std::string_view text) { return ToValidUtf8(text) == text; }

// Pushes all ids, checks that every increment is whole characters, and returns the text.
std::string Stream(const Tokenizer& tokenizer, const Ids& prompt, const Ids& ids, bool skip_special_tokens) {
  IncrementalDetokenizer detokenizer(tokenizer, prompt, skip_special_tokens);
  std::string text;
  for (int32_t id : ids) {
    const std::string increment = detokenizer.Push(id);
    EXPECT_TRUE(IsValidUtf8(increment));
    text += increment;
  }
  return text + detokenizer.Flush();
}

Ids RandomIds(const Tokenizer& tokenizer, size_t count, std::mt19937& random) {
  Ids ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % tokenizer.vocab_size());
  return ids;
}

class Detokenizer : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = LoadFixture(GetParam());
};

TEST_P(Detokenizer, RandomIdsGiveTheTextOfFullDecode) {
  if (!tokenizer_->TokenBytes(0)) GTEST_SKIP() << "only of valid text where the decoder is not by bytes";
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const Ids ids = RandomIds(*tokenizer_, 1 + random() % 60, random);
    for (bool skip : {false, true}) {
      EXPECT_EQ(Stream(*tokenizer_, {}, ids, skip), *tokenizer_->Decode(ids, skip));
    }
  }
}

TEST_P(Detokenizer, TextComesBackWhole) {
  std::mt19937 random(2);
  const std::vector<std::string> words = {"Hello", " world", " ",      "\n\n",  "你好",   "😀",
                                          "👍🏽",  "é",      "don't",  "  two", "한국어", "<|im_end|>",
                                          "<s>",   "ÿ",      "\u200b", "x=1;",  "。"};
  for (int round = 0; round < 100; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i) text += words[random() % words.size()];
    const Ids ids = *tokenizer_->Encode(text, false);
    for (bool skip : {false, true}) {
      EXPECT_EQ(Stream(*tokenizer_, {}, ids, skip), *tokenizer_->Decode(ids, skip)) << text;
    }
  }
}

// What follows a prompt is the rest of the whole text: its leading space is kept.
TEST_P(Detokenizer, PromptGivesContext) {
  const Ids ids = *tokenizer_->Encode("The chunks of the prompt are streamed through stages", false);
  const std::string whole = *tokenizer_->Decode(ids, false);
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    const Ids prompt(ids.begin(), ids.begin() + cut), rest(ids.begin() + cut, ids.end());
    EXPECT_EQ(*tokenizer_->Decode(prompt, false) + Stream(*tokenizer_, prompt, rest, false), whole) << cut;
  }
}

TEST_P(Detokenizer, CharacterThatBeganInThePromptComesOutWhole) {
  const Ids ids = *tokenizer_->Encode("a🦀b", false);
  int num_cuts = 0;
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    const Ids prompt(ids.begin(), ids.begin() + cut), rest(ids.begin() + cut, ids.end());
    if (!tokenizer_->Decode(prompt, false)->ends_with("\uFFFD")) continue;
    EXPECT_EQ(Stream(*tokenizer_, prompt, rest, false), "🦀b") << cut;
    ++num_cuts;
  }
  EXPECT_GE(num_cuts, 2);
}

TEST_P(Detokenizer, IncompleteCharacterIsHeldAndFlushed) {
  const Ids ids = *tokenizer_->Encode("x你", false);
  IncrementalDetokenizer detokenizer(*tokenizer_, {}, true);
  std::string text;
  for (size_t i = 0; i + 1 < ids.size(); ++i) text += detokenizer.Push(ids[i]);
  EXPECT_EQ(text, "x");  // the last token completes the character
  EXPECT_TRUE(detokenizer.Flush().starts_with("\uFFFD"));
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST_P(Detokenizer, UnknownIdsAreNoText) {
  IncrementalDetokenizer detokenizer(*tokenizer_, Ids{-5, tokenizer_->vocab_size()}, true);
  EXPECT_EQ(detokenizer.Push(tokenizer_->vocab_size() + 100), "");
  EXPECT_EQ(detokenizer.Push(-1), "");
  const Ids ids = *tokenizer_->Encode("a", false);
  std::string text;
  for (int32_t id : ids) text += detokenizer.Push(id);
  EXPECT_EQ(text + detokenizer.Flush(), "a");
}

TEST_P(Detokenizer, SpecialTokensAreSkippedOrShown) {
  const int32_t eos = *tokenizer_->TokenToId(*tokenizer_->eos_token());
  Ids ids = *tokenizer_->Encode("a b", false);
  ids.insert(ids.begin() + 1, eos);
  EXPECT_EQ(Stream(*tokenizer_, {}, ids, true), *tokenizer_->Decode(ids, true));
  EXPECT_EQ(Stream(*tokenizer_, {}, ids, false), *tokenizer_->Decode(ids, false));
  EXPECT_EQ(Stream(*tokenizer_, {}, ids, true).find(*tokenizer_->eos_token()), std::string::npos);
  EXPECT_NE(Stream(*tokenizer_, {}, ids, false).find(*tokenizer_->eos_token()), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Styles, Detokenizer,
                         testing::Values("qwen_style", "gpt2_style", "deepseek_style", "llama2_style"),
                         [](const auto& info) { return std::string(info.param); });

// The window forgets: many ids do not make it slow or wrong. "▁" decodes to a space everywhere but at the
// start.
TEST(DetokenizerWindow, LongSequenceOfAChainDecoder) {
  const auto tokenizer = LoadFixture("llama2_style");
  std::string text;
  for (int i = 0; i < 500; ++i) text += (i == 0 ? "w" : " w") + std::to_string(i) + (i % 7 == 0 ? "你" : "");
  const Ids ids = *tokenizer->Encode(text, false);
  EXPECT_EQ(Stream(*tokenizer, {}, ids, true), text);
}

TEST(Utf8, InvalidBytesAreReplacedAsUnicodeSays) {
  EXPECT_EQ(ToValidUtf8("a\xff"
                        "b"),
            "a\uFFFDb");
  EXPECT_EQ(ToValidUtf8("\xE4\xBD"
                        "b"),
            "\uFFFDb");  // a maximal subpart is one character
  EXPECT_EQ(ToValidUtf8("\xF0\x80\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // overlong: no subpart
  EXPECT_EQ(ToValidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(ToValidUtf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(ToValidUtf8("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");
  EXPECT_EQ(ToValidUtf8("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(ToValidUtf8(std::string_view("\0", 1)), std::string_view("\0", 1));
}

}  // namespace
}  // namespace penstock
