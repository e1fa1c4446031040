// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_model_json.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

namespace penstock {
namespace {

CostModelKey Key() {
  return {.model = "tiny",
          .config_hash = "abc",
          .dtype = "bfloat16",
          .quantization = "",
          .pipeline_parallel_size = 2,
          .layer_partition = {3, 4},
          .threads_per_rank = 1,
          .device = "a CPU \"quoted\"",
          .isa = "avx512",
          .build = "1.0"};
}

CostModel Model() {
  return {{{.step_us = 0.1,
            .token_us = 1.0 / 3,
            .floor_us = 1e-300,
            .pair_us = 2.86578596357e-9,
            .history_us = 4,
            .seq_us = 5,
            .decode_token_us = 6,
            .decode_context_us = 7},
           {.token_us = 1}}};
}

std::string Text() { return CostModelToText(Model(), Key(), {0.01, 0.03, 32}); }

std::string Error(const std::string& text, const CostModelKey& key = Key()) {
  const auto saved = CostModelFromText(text, key);
  return saved.ok() ? "" : saved.status().message();
}

// The text with the first `from` replaced.
std::string With(const std::string& from, const std::string& to) {
  std::string text = Text();
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(CostModelJson, ComesBackAsItWas) {
  const auto saved = CostModelFromText(Text(), Key());
  ASSERT_TRUE(saved.ok()) << saved.status().message();
  EXPECT_EQ(saved->model, Model());
  EXPECT_EQ(saved->quality.median_error, 0.01);
  EXPECT_EQ(saved->quality.p90_error, 0.03);
  EXPECT_EQ(saved->quality.num_samples, 32);
}

TEST(CostModelJson, EveryFieldOfTheKeyMatters) {
  const std::pair<const char*, std::function<void(CostModelKey*)>> changes[] = {
      {"model is \"tiny\", expected \"x\"", [](CostModelKey* key) { key->model = "x"; }},
      {"config_hash is \"abc\", expected \"x\"", [](CostModelKey* key) { key->config_hash = "x"; }},
      {"dtype is \"bfloat16\", expected \"x\"", [](CostModelKey* key) { key->dtype = "x"; }},
      {"quantization is \"\", expected \"x\"", [](CostModelKey* key) { key->quantization = "x"; }},
      {"pipeline_parallel_size is 2, expected 3", [](CostModelKey* key) { key->pipeline_parallel_size = 3; }},
      {"tensor_parallel_size is 1, expected 3", [](CostModelKey* key) { key->tensor_parallel_size = 3; }},
      {"context_parallel_size is 1, expected 3", [](CostModelKey* key) { key->context_parallel_size = 3; }},
      {"data_parallel_size is 1, expected 3", [](CostModelKey* key) { key->data_parallel_size = 3; }},
      {"expert_parallel_size is 1, expected 3", [](CostModelKey* key) { key->expert_parallel_size = 3; }},
      {"layer_partition is [3,4], expected [4,3]", [](CostModelKey* key) { key->layer_partition = {4, 3}; }},
      {"threads_per_rank is 1, expected 3", [](CostModelKey* key) { key->threads_per_rank = 3; }},
      {"device is \"a CPU \\\"quoted\\\"\", expected \"x\"", [](CostModelKey* key) { key->device = "x"; }},
      {"isa is \"avx512\", expected \"x\"", [](CostModelKey* key) { key->isa = "x"; }},
      {"build is \"1.0\", expected \"x\"", [](CostModelKey* key) { key->build = "x"; }},
  };
  for (const auto& [message, change] : changes) {
    CostModelKey key = Key();
    change(&key);
    EXPECT_EQ(Error(Text(), key), std::string("saved cost model: ") + message);
  }
}

TEST(CostModelJson, NamesWhatIsUnsound) {
  EXPECT_EQ(Error(With("\"step_us\": 0.1", "\"step_us\": -1")),
            "saved cost model: step_us of stage 0 is -1, expected a number from 0 to 1000000000000");
  EXPECT_EQ(Error(With("\"step_us\": 0.1", "\"step_us\": null")),
            "saved cost model: step_us of stage 0 is null, expected a number from 0 to 1000000000000");
  EXPECT_EQ(Error(With("\"step_us\": 0.1", "\"step_us\": \"1\"")),
            "saved cost model: step_us of stage 0 is \"1\", expected a number from 0 to 1000000000000");
  EXPECT_EQ(Error(With("\"step_us\": 0.1,", "")), "saved cost model: stage 0 has no \"step_us\"");
  EXPECT_EQ(Error(With("\"token_us\": 1.0,", "\"token_us\": 0,")),
            "saved cost model: stage 1 costs nothing, expected a number > 0");
  EXPECT_EQ(Error(With("\"median_error\": 0.01", "\"median_error\": false")),
            "saved cost model: median_error of quality is false, expected a number from 0 to 1000000000000");
  EXPECT_EQ(Error(With("\"step_us\": 0.1", "\"step_us\": 1e300")),
            "saved cost model: step_us of stage 0 is 1e+300, expected a number from 0 to 1000000000000");
  EXPECT_NE(Error(With("\"step_us\": 0.1", "\"step_us\": 1e999")), "");
  EXPECT_NE(Error(With("\"step_us\": 0.1", "\"step_us\": NaN")), "");
}

TEST(CostModelJson, NamesWhatIsMissing) {
  EXPECT_EQ(Error("{}"), "saved cost model: the text has no \"penstock_cost_model\"");
  EXPECT_EQ(Error("[]"), "saved cost model: the text is not an object");
  EXPECT_EQ(Error(With("penstock_cost_model\": 1", "penstock_cost_model\": 2")),
            "saved cost model: format penstock_cost_model is 2, expected 1");
  EXPECT_EQ(Error(With("\"isa\": \"avx512\",", "")), "saved cost model: key has no \"isa\"");
  EXPECT_EQ(Error(With("\"stages\"", "\"other\"")), "saved cost model: the text has no \"stages\"");
  EXPECT_EQ(Error(With("\"stages\": [", "\"stages\": [], \"other\": [")),
            "saved cost model: 0 stages, expected 2");
  EXPECT_EQ(Error(""), Error("", {})) << "whatever the key";
}

TEST(CostModelJson, RefusesEveryPrefixAndSurvivesFlippedBytes) {
  const std::string text = Text();
  for (size_t len = 0; len + 2 < text.size(); ++len) ASSERT_NE(Error(text.substr(0, len)), "") << len;
  std::mt19937 rng(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string broken = text;
    for (int i = 0; i < 1 + trial % 4; ++i) broken[rng() % broken.size()] = static_cast<char>(rng());
    const auto saved = CostModelFromText(broken, Key());
    if (!saved.ok()) continue;  // a digit for a digit, or white space
    ASSERT_EQ(saved->model.num_stages(), 2);
    for (const StageCost& cost : saved->model.stages) ASSERT_TRUE(cost.IsSound());
  }
}

TEST(CostModelJson, NamesNeedNotBeUtf8) {
  CostModelKey key = Key();
  key.model = "a\xff\xfe name";
  const std::string text = CostModelToText(Model(), key, {});
  EXPECT_EQ(Error(text, key), "");
  EXPECT_NE(Error(text), "");
}

}  // namespace
}  // namespace penstock
