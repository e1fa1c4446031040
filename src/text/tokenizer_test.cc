// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "base/json.h"
#include "text/hf_tokenizer.h"
#include "text/testdata.h"

namespace penstock {
namespace {

using Ids = std::vector<int32_t>;

Ids IdsOf(const Json& json) { return json.get<Ids>(); }

class TokenizerGoldens : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = LoadFixture(GetParam());
  Json goldens_ = *ReadJsonFile(TestdataPath(GetParam()) + "/goldens.json");
};

TEST_P(TokenizerGoldens, EncodesAsPython) {
  ASSERT_GE(goldens_["cases"].size(), 60u);
  for (const Json& golden : goldens_["cases"]) {
    const std::string text = golden["text"];
    EXPECT_EQ(*tokenizer_->Encode(text, false), IdsOf(golden["ids"])) << text;
    EXPECT_EQ(*tokenizer_->Encode(text, true), IdsOf(golden["ids_special"])) << text;
  }
}

TEST_P(TokenizerGoldens, DecodesAsPython) {
  for (const Json& golden : goldens_["cases"]) {
    const Ids ids = IdsOf(golden["ids_special"]);
    EXPECT_EQ(*tokenizer_->Decode(ids, false), golden["decoded"].get<std::string>());
    EXPECT_EQ(*tokenizer_->Decode(ids, true), golden["decoded_skip"].get<std::string>());
  }
}

TEST_P(TokenizerGoldens, VocabularyGoesBothWays) {
  ASSERT_EQ(tokenizer_->vocab_size(), goldens_["vocab_size"].get<int32_t>());
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string token = tokenizer_->IdToToken(id);
    ASSERT_FALSE(token.empty()) << id;
    EXPECT_EQ(tokenizer_->TokenToId(token), id) << token;
  }
  EXPECT_EQ(tokenizer_->TokenToId("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenToId(std::string_view("a\0b", 3)), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenToId("\xff"), std::nullopt);
  EXPECT_EQ(tokenizer_->IdToToken(-1), "");
  EXPECT_EQ(tokenizer_->IdToToken(tokenizer_->vocab_size()), "");
}

TEST_P(TokenizerGoldens, TextHasAtLeastAsManyTokensAsItsBytesNeed) {
  for (const Json& golden : goldens_["cases"]) {
    const size_t num_bytes = golden["text"].get<std::string>().size();
    EXPECT_GE(golden["ids"].size() * tokenizer_->max_token_bytes(), num_bytes);
  }
  EXPECT_LT(tokenizer_->max_token_bytes(), 200);
}

// Cutting a text must not change its ids, wherever the cuts are.
TEST_P(TokenizerGoldens, PiecesGiveTheIdsOfTheWhole) {
  const auto& tokenizer = static_cast<const HfTokenizer&>(*tokenizer_);
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::string text;
    while (text.size() < 6000) {
      text += goldens_["cases"][random() % goldens_["cases"].size()]["text"].get<std::string>();
      text += std::vector<std::string>{
          "", " ", "\n", "\n\n", " word", "word\nWord", "字\n字", ".\n"}[random() % 8];
    }
    const bool add_special_tokens = round % 2 == 1;
    const Ids whole = *tokenizer.Encode(text, add_special_tokens);
    for (size_t piece_bytes : {1, 7, 500}) {
      EXPECT_EQ(*tokenizer.EncodeInPieces(text, add_special_tokens, piece_bytes), whole)
          << round << " " << piece_bytes;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, TokenizerGoldens,
                         testing::Values("qwen_style", "gpt2_style", "deepseek_style", "llama2_style"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, FindsWhereTextMayBeCut) {
  const auto rules = [](const std::unique_ptr<Tokenizer>& tokenizer) {
    return static_cast<const HfTokenizer&>(*tokenizer).cut_rules();
  };
  for (const char* name : {"qwen_style", "gpt2_style", "deepseek_style"}) {
    EXPECT_TRUE(rules(LoadFixture(name)).after_newline) << name;
    EXPECT_TRUE(rules(LoadFixture(name)).before_space) << name;
  }
  EXPECT_FALSE(rules(LoadFixture("llama2_style")).any());  // puts a space in front of every piece
}

// An expression that looks across the cuts: only the test at load can tell.
TEST(Tokenizer, DoesNotCutWhereTheExpressionLooksAcross) {
  Json json = *ReadJsonFile(TestdataPath("qwen_style") + "/tokenizer.json");
  Json& split = json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
  split = R"(\p{L}+ \p{L}+|\p{L}+|[^\p{L}\s]+|\s+)";  // takes two words at a time
  const auto two_words = *HfTokenizer::Create(json.dump(), {}, {.num_threads = 2});
  EXPECT_TRUE(two_words->cut_rules().after_newline);
  EXPECT_FALSE(two_words->cut_rules().before_space);
  split = R"((?<=\n)\p{L}{2}|\p{L}+|[^\p{L}\s]+|\s+)";  // after a newline, two letters alone
  const auto looks_behind = *HfTokenizer::Create(json.dump(), {}, {.num_threads = 2});
  EXPECT_FALSE(looks_behind->cut_rules().after_newline);
  EXPECT_TRUE(looks_behind->cut_rules().before_space);
}

TEST(Tokenizer, DoesNotCutInsideAddedTokens) {
  Json json = *ReadJsonFile(TestdataPath("qwen_style") + "/tokenizer.json");
  Json token = json["added_tokens"][0];
  token["content"] = "two words";
  json["added_tokens"].push_back(token);
  const auto tokenizer = *HfTokenizer::Create(json.dump(), {}, {.num_threads = 2});
  EXPECT_TRUE(tokenizer->cut_rules().after_newline);
  EXPECT_FALSE(tokenizer->cut_rules().before_space);
  json["added_tokens"].back()["content"] = "two\nlines";
  EXPECT_FALSE((*HfTokenizer::Create(json.dump(), {}, {.num_threads = 2}))->cut_rules().after_newline);
  json["added_tokens"].back()["content"] = "word";
  json["added_tokens"].back()["lstrip"] = true;  // would take the space before the cut
  EXPECT_FALSE((*HfTokenizer::Create(json.dump(), {}, {.num_threads = 2}))->cut_rules().any());
}

TEST(Tokenizer, IdsMayHaveHoles) {
  Json json = *ReadJsonFile(TestdataPath("qwen_style") + "/tokenizer.json");
  json["model"]["vocab"]["farAway"] = 5000;
  const auto tokenizer = *HfTokenizer::Create(json.dump(), {}, {});
  EXPECT_EQ(tokenizer->vocab_size(), 5001);
  EXPECT_EQ(*tokenizer->Decode(Ids{5000}, false), "farAway");
  EXPECT_EQ(tokenizer->Decode(Ids{4999}, false).status().code(), StatusCode::kInvalidArgument);
}

TEST(Tokenizer, EncodesLongTextsOnSeveralThreads) {
  std::string text;
  while (text.size() < 400000)
    text += "Line " + std::to_string(text.size()) + " of a text\nthat is long, 你好\n<|im_end|>x y\n";
  const Ids one_thread = *LoadFixture("deepseek_style", {.num_threads = 1})->Encode(text, true);
  const std::unique_ptr<Tokenizer> tokenizer = LoadFixture("deepseek_style", {.num_threads = 4});
  std::vector<std::thread> callers;  // at the same time, from several threads
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { EXPECT_EQ(*tokenizer->Encode(text, true), one_thread); });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(Tokenizer, LongTextWithoutAPlaceToCutIsEncodedWhole) {
  const auto tokenizer = LoadFixture("qwen_style", {.num_threads = 2});
  const std::string text(200000, 'a');
  EXPECT_EQ(*tokenizer->Decode(*tokenizer->Encode(text, false), false), text);
}

TEST(Tokenizer, KnowsSpecialTokens) {
  const auto tokenizer = LoadFixture("gpt2_style");
  EXPECT_EQ(tokenizer->bos_token(), "<|im_start|>");  // written as an object
  EXPECT_EQ(tokenizer->eos_token(), "<|im_end|>");    // as a string
  EXPECT_TRUE(tokenizer->IsSpecial(*tokenizer->TokenToId("<|im_end|>")));
  EXPECT_FALSE(tokenizer->IsSpecial(*tokenizer->TokenToId("<think>")));  // added, not special
  EXPECT_FALSE(tokenizer->IsSpecial(0));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(1 << 30));
  EXPECT_EQ(LoadFixture("qwen_style")->bos_token(), std::nullopt);  // null
}

TEST(Tokenizer, GivesTheBytesOfTokens) {
  const auto byte_level = LoadFixture("qwen_style");
  EXPECT_EQ(byte_level->TokenBytes(*byte_level->TokenToId("Ġthe")), " the");
  EXPECT_EQ(byte_level->TokenBytes(*byte_level->TokenToId("ä")), "\xe4");
  EXPECT_EQ(byte_level->TokenBytes(*byte_level->TokenToId("<|im_end|>")), "<|im_end|>");
  EXPECT_EQ(byte_level->TokenBytes(-1), "");
  const auto deepseek = LoadFixture("deepseek_style");  // "｜" is outside the byte alphabet
  EXPECT_EQ(deepseek->TokenBytes(*deepseek->TokenToId("<｜end▁of▁sentence｜>")), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(LoadFixture("llama2_style")->TokenBytes(5), std::nullopt);
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = LoadFixture("qwen_style");
  for (int32_t id : {-1, tokenizer->vocab_size(), std::numeric_limits<int32_t>::max(),
                     std::numeric_limits<int32_t>::min()}) {
    const Status status = tokenizer->Decode(Ids{1, id}, false).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(std::to_string(id)), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(std::to_string(tokenizer->vocab_size())), std::string::npos)
        << status.message();
  }
  EXPECT_EQ(*tokenizer->Decode({}, false), "");
}

TEST(Tokenizer, ReadsInvalidUtf8AsReplacementCharacters) {
  const auto tokenizer = LoadFixture("qwen_style");
  EXPECT_EQ(*tokenizer->Encode("a\xff"
                               "b\xe4\xbd",
                               false),
            *tokenizer->Encode("a\uFFFDb\uFFFD", false));
  const std::string nul("x\0y", 3);
  EXPECT_EQ(*tokenizer->Decode(*tokenizer->Encode(nul, false), false), nul);
}

// Text made to be slow for a backtracking expression, or wrong for a careless cut.
TEST(Tokenizer, SurvivesHostileText) {
  const auto tokenizer = LoadFixture("qwen_style", {.num_threads = 2});
  for (const std::string unit :
       {" ", "\n", " \n", "\t ", "a", "a ", "1", "'", "\xff", "e\xCC\x81", "<|im_", "!\n", "\xE2\x80\x8D"}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    const Result<Ids> ids = tokenizer->Encode(text, false);
    ASSERT_TRUE(ids.ok()) << unit << ": " << ids.status().message();
    EXPECT_GE(static_cast<int64_t>(ids->size()) * tokenizer->max_token_bytes(),
              static_cast<int64_t>(text.size()));
  }
}

class TokenizerFiles : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::path(testing::TempDir()) / "penstock_tokenizer_files";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  void CopyTokenizer() { std::filesystem::copy(TestdataPath("qwen_style") + "/tokenizer.json", dir_); }
  Status LoadStatus() {
    Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(dir_.string());
    return tokenizer.ok() ? OkStatus() : tokenizer.status();
  }
  void ExpectRefused(StatusCode code, const std::string& part) {
    const Status status = LoadStatus();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }

  std::filesystem::path dir_;
};

TEST_F(TokenizerFiles, MissingTokenizerIsNamed) { ExpectRefused(StatusCode::kNotFound, "tokenizer.json"); }

TEST_F(TokenizerFiles, ConfigMayBeMissing) {
  CopyTokenizer();
  const auto tokenizer = *Tokenizer::Load(dir_.string());
  EXPECT_EQ(tokenizer->eos_token(), std::nullopt);
}

TEST_F(TokenizerFiles, SpecialTokensMapFillsIn) {
  CopyTokenizer();
  Write("tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  Write("special_tokens_map.json", R"({"eos_token": "no", "bos_token": {"content": "<|im_start|>"}})");
  const auto tokenizer = *Tokenizer::Load(dir_.string());
  EXPECT_EQ(tokenizer->eos_token(), "<|im_end|>");
  EXPECT_EQ(tokenizer->bos_token(), "<|im_start|>");
}

// As transformers: where the config speaks of it, the post-processor of tokenizer.json does not count.
TEST_F(TokenizerFiles, ConfigDecidesOnBosAndEos) {
  std::filesystem::copy(TestdataPath("llama2_style") + "/tokenizer.json",
                        dir_);  // its post-processor adds <s>
  const auto encode = [&](const std::string& flags) {
    Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>")" + flags + "}");
    return *(*Tokenizer::Load(dir_.string()))->Encode("a", true);
  };
  const Ids bos = {1}, eos = {2};
  const Ids bare = *(*Tokenizer::Load(dir_.string()))->Encode("a", false);
  const auto join = [](Ids ids, const Ids& more) {
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
  };
  EXPECT_EQ(encode(""), join(bos, bare));
  EXPECT_EQ(encode(R"(, "add_bos_token": false)"), bare);
  EXPECT_EQ(encode(R"(, "add_bos_token": true, "add_eos_token": true)"), join(join(bos, bare), eos));
  EXPECT_EQ(encode(R"(, "add_eos_token": true)"), join(bare, eos));
}

TEST_F(TokenizerFiles, MalformedFilesAreRefused) {
  for (
      const char* text :
      {"", "{", "[]", "null", "{}", R"({"model": {}})",
       R"({"model": {"type": "BPE", "vocab": 3, "merges": []}})",
       R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})",
       R"({"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}})",
       R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":4294967295},"merges":[]}})",
       R"({"version":"1.0","pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})"}) {
    Write("tokenizer.json", text);
    ExpectRefused(StatusCode::kInvalidArgument, "tokenizer.json");
  }
  Write("tokenizer.json", std::string(100000, '['));
  ExpectRefused(StatusCode::kInvalidArgument, "tokenizer.json");
}

TEST_F(TokenizerFiles, MalformedConfigIsRefused) {
  CopyTokenizer();
  for (const char* text : {"", "[]", R"({"eos_token": 3})", R"({"eos_token": {"text": "x"}})"}) {
    Write("tokenizer_config.json", text);
    ExpectRefused(StatusCode::kInvalidArgument, "tokenizer_config.json");
  }
}

}  // namespace
}  // namespace penstock
