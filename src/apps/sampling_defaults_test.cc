// SPDX-License-Identifier: Apache-2.0
#include "apps/sampling_defaults.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

class SamplingDefaultsTest : public ::testing::Test {
 protected:
  SamplingDefaultsTest() : dir_(::testing::TempDir() + "sampling_defaults_test") {
    std::filesystem::create_directories(dir_);
  }
  ~SamplingDefaultsTest() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& text) { std::ofstream(dir_ + "/generation_config.json") << text; }
  std::string Error(const std::string& source, const char* overrides) {
    return ReadSamplingDefaults(dir_, source, Json::parse(overrides)).status().message();
  }
  const std::string dir_;
};

TEST_F(SamplingDefaultsTest, NoFileIsNeutral) {
  const SamplingDefaults defaults = *ReadSamplingDefaults(dir_, "auto", Json());
  EXPECT_EQ(defaults.params.temperature, 1.0f);
  EXPECT_EQ(defaults.params.top_k, 0);
  EXPECT_FALSE(defaults.max_tokens.has_value());
  EXPECT_EQ(ReadSamplingDefaults(dir_, "/no/such/dir", Json()).status().code(), StatusCode::kNotFound);
}

TEST_F(SamplingDefaultsTest, FileThenOverrides) {
  Write(
      R"({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": null, "max_new_tokens": 2048})");
  const SamplingDefaults defaults =
      *ReadSamplingDefaults(dir_, "auto", Json::parse(R"({"top_k": -1, "min_p": 0.1})"));
  EXPECT_FLOAT_EQ(defaults.params.temperature, 0.6f);
  EXPECT_FLOAT_EQ(defaults.params.top_p, 0.95f);
  EXPECT_EQ(defaults.params.top_k, 0);
  EXPECT_FLOAT_EQ(defaults.params.min_p, 0.1f);
  EXPECT_EQ(defaults.max_tokens, 2048);
  EXPECT_EQ(ReadSamplingDefaults(dir_, "vllm", Json())->params.temperature, 1.0f);
  EXPECT_FLOAT_EQ(ReadSamplingDefaults("/other", dir_, Json())->params.temperature, 0.6f);
}

TEST_F(SamplingDefaultsTest, Errors) {
  EXPECT_EQ(Error("vllm", R"({"temperature": -1})"),
            "--override-generation-config: temperature: got -1, expected a number from 0 to 100");
  EXPECT_TRUE(Error("vllm", R"({"temprature": 1})")
                  .starts_with("--override-generation-config: got the key temprature"));
  Write(R"({"top_p": "high"})");
  EXPECT_NE(Error("auto", "null").find("generation_config.json: top_p: got \"high\""), std::string::npos);
}

}  // namespace
}  // namespace penstock
