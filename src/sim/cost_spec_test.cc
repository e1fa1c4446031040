// SPDX-License-Identifier: Apache-2.0
#include "sim/cost_spec.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace penstock {
namespace {

std::string Error(std::string_view text) { return ParseCostSpec(text).status().message(); }

TEST(CostSpec, WholeModel) {
  const Result<CostSpec> spec = ParseCostSpec(R"({"alpha": 1e-4, "d0": 0.015})");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const CostModel model = *ResolveCost(*spec, 4, {});
  EXPECT_EQ(model, MakeBalancedCost({.alpha = 1e-4, .d0 = 0.015}, 4));
  EXPECT_EQ(ResolveCost(*spec, std::nullopt, {})->num_stages(), 2);
  EXPECT_EQ(*ResolveCost(*spec, std::nullopt, {1, 1, 1.25}),
            MakeWeightedCost({.alpha = 1e-4, .d0 = 0.015}, {1, 1, 1.25}));
  EXPECT_EQ(ResolveCost(*spec, 2, {1, 1, 1}).status().message(),
            "--stage-shares: got 3 shares, expected 2, one for each stage");
}

TEST(CostSpec, StageByStage) {
  const CostSpec spec = *ParseCostSpec(
      R"({"stages": [{"step_us": 10, "token_us": 2}, {"token_us": 3, "floor_us": 4, "pair_us": 0.5,
          "history_us": 6, "seq_us": 7, "decode_token_us": 8, "decode_context_us": 9}]})");
  const CostModel model = *ResolveCost(spec, std::nullopt, {});
  ASSERT_EQ(model.num_stages(), 2);
  EXPECT_EQ(model.stages[0], (StageCost{.step_us = 10, .token_us = 2}));
  EXPECT_EQ(model.stages[1], (StageCost{.token_us = 3,
                                        .floor_us = 4,
                                        .pair_us = 0.5,
                                        .history_us = 6,
                                        .seq_us = 7,
                                        .decode_token_us = 8,
                                        .decode_context_us = 9}));
  EXPECT_EQ(ResolveCost(spec, 3, {}).status().message(),
            "--pipeline-parallel-size: got 3, expected 2, the number of stages of --cost");
  EXPECT_FALSE(ResolveCost(spec, std::nullopt, {1, 1}).ok());
}

TEST(CostSpec, References) {
  const auto whole = [](std::string_view name) {
    return std::get<WholeModelCost>(ParseCostSpec(name)->cost);
  };
  EXPECT_EQ(whole("deepseek-v3.1").floor, 0.16);
  EXPECT_EQ(whole("qwen3-235b").d0, 0.015);
  EXPECT_EQ(whole("kimi-k2.5").gamma, 2.156e-6);
  EXPECT_EQ(whole("deepseek-v3.1-lean").alpha, whole("deepseek-v3.1").alpha);
  EXPECT_EQ(whole("deepseek-v3.1-lean").floor, 0.052);
  EXPECT_EQ(whole("deepseek-v3.1-lean").d0, 0.002);
  EXPECT_EQ(
      Error("deepseek"),
      "got \"deepseek\", expected a JSON object, @FILE, or one of deepseek-v3.1, qwen3-235b, kimi-k2.5, "
      "each also with -lean");
}

TEST(CostSpec, Files) {
  const std::string path = testing::TempDir() + "cost_spec_test.json";
  std::ofstream(path) << R"({"key": {"model": "x"}, "stages": [{"token_us": 5}]})";
  const Result<CostSpec> spec = ParseCostSpec("@" + path);
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(std::get<CostModel>(spec->cost).stages[0].token_us, 5);
  std::ofstream(path) << R"({"alpha": -1})";
  EXPECT_EQ(Error("@" + path), path + ": \"alpha\": got -1, expected a number, 0 or more");
  std::remove(path.c_str());
  EXPECT_EQ(ParseCostSpec("@" + path).status().code(), StatusCode::kNotFound);
}

TEST(CostSpec, SaysWhatIsWrong) {
  EXPECT_EQ(Error(R"({"alfa": 1})"), "got \"alfa\", expected alpha, beta, gamma, floor, d0");
  EXPECT_EQ(Error(R"({"alpha": "1"})"), "\"alpha\": got \"1\", expected a number, 0 or more");
  EXPECT_EQ(Error("{}"), "got {}, expected one of alpha, beta, gamma, floor, d0 to be more than 0");
  EXPECT_TRUE(Error("{").starts_with("cost model: not JSON"));
  EXPECT_EQ(Error(R"({"stages": []})"), "\"stages\": got [], expected an array, one object for each stage");
  EXPECT_EQ(
      Error(R"({"stages": [{"token_us": 1}, {"tokens": 1}]})"),
      "\"stages\"[1]: got \"tokens\", expected step_us, token_us, floor_us, pair_us, history_us, seq_us, "
      "decode_token_us, decode_context_us");
}

}  // namespace
}  // namespace penstock
