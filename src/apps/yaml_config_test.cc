// SPDX-License-Identifier: Apache-2.0
#include "apps/yaml_config.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "apps/flags.h"

namespace penstock {
namespace {

using Words = std::vector<std::string>;

Words Read(const std::string& text) {
  auto words = ParseYamlConfig(text, ServeTable());
  EXPECT_TRUE(words.ok()) << words.status().message();
  return words.ok() ? *words : Words();
}

TEST(YamlConfig, ValuesOfEveryKind) {
  EXPECT_EQ(Read("port: 8003\nmax_model_len: 128k  # decimal\nhost: \"0.0.0.0\"\n"),
            (Words{"--port=8003", "--max-model-len=128k", "--host=0.0.0.0"}));
  EXPECT_EQ(Read("enable-prefix-caching: false\ntrust-remote-code: yes"),
            (Words{"--no-enable-prefix-caching", "--trust-remote-code"}));
  EXPECT_EQ(Read("served-model-name: [a, \"1\"]\napi-key:\n  - x\n  - y"),
            (Words{"--served-model-name=a", "--served-model-name=1", "--api-key=x", "--api-key=y"}));
  EXPECT_EQ(Read("additional-config:\n  profiling_chunk_config:\n    enabled: true\n    smooth_factor: 0.5\n"
                 "    name: \"true\"\n    list: [1, two, ~]\n"),
            (Words{R"(--additional-config={"profiling_chunk_config":{"enabled":true,"smooth_factor":0.5,)"
                   R"("name":"true","list":[1,"two",null]}})"}));
  EXPECT_EQ(Read("quantization: null\nuds: ~"), Words{});
  EXPECT_EQ(Read(""), Words{});
}

TEST(YamlConfig, Errors) {
  const auto error = [](const std::string& text) {
    return ParseYamlConfig(text, ServeTable()).status().message();
  };
  EXPECT_EQ(error("- a\n- b"), "expected lines of \"flag: value\"");
  EXPECT_NE(error("a: [1").find("line"), std::string::npos);
  EXPECT_EQ(error("config: other.yaml"), "config: a file cannot name another file");
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += "[";
  for (int i = 0; i < 40; ++i) deep += "]";
  EXPECT_NE(error("additional-config: " + deep).find("nested deeper"), std::string::npos);
}

class YamlFile : public ::testing::Test {
 protected:
  Result<ParsedFlags> Parse(const std::string& text, Words words) {
    const std::string path = ::testing::TempDir() + "yaml_config_test.yaml";
    std::ofstream(path) << text;
    words.insert(words.begin() + 1, {"--config", path});
    return ParseFlags(words, ServeTable());
  }
};

TEST_F(YamlFile, TheCommandLineWins) {
  const auto flags = *Parse("port: 1\nmax-num-seqs: 4\nserved-model-name: [a]\nenable-prefix-caching: false",
                            {"model", "--port", "2", "--served-model-name", "b", "--enable-prefix-caching"});
  EXPECT_EQ(flags.Int("port"), 2);
  EXPECT_EQ(flags.Int("max-num-seqs"), 4);
  EXPECT_EQ(flags.List("served-model-name"), (Words{"b"}));
  EXPECT_TRUE(flags.Bool("enable-prefix-caching"));
  EXPECT_EQ(flags.positionals(), (Words{"model"}));
  EXPECT_TRUE(flags.warnings().empty());
}

TEST_F(YamlFile, ErrorsNameTheFile) {
  const std::string message = Parse("max-num-seq: 4", {"model"}).status().message();
  EXPECT_NE(message.find("yaml_config_test.yaml: unknown flag --max-num-seq; did you mean --max-num-seqs?"),
            std::string::npos)
      << message;
  EXPECT_EQ(ParseFlags(Words{"--config", "/no/such.yaml"}, ServeTable()).status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace penstock
