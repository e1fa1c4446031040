// SPDX-License-Identifier: Apache-2.0
#include "sample/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace penstock {
namespace {

SampleSpec Spec(SamplingParams params, uint64_t seed = 1, uint64_t draw_idx = 0) {
  SampleSpec spec;
  spec.params = std::move(params);
  spec.seed = seed;
  spec.draw_idx = draw_idx;
  return spec;
}

TokenId SampleOne(const SampleSpec& spec, std::vector<float> logits) {
  Sampler sampler(static_cast<int32_t>(logits.size()));
  return sampler.Sample(7, spec, logits).id;
}

// How often each token is drawn in `count` draws.
std::map<TokenId, int> Frequencies(const SamplingParams& params, const std::vector<float>& logits,
                                   int count) {
  std::map<TokenId, int> drawn;
  for (int i = 0; i < count; ++i) ++drawn[SampleOne(Spec(params, 42, i), logits)];
  return drawn;
}

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowestIdOfEquals) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(SampleOne(Spec(params), {0.1f, 3.0f, 2.0f}), 1);
  EXPECT_EQ(SampleOne(Spec(params), {5.0f, 3.0f, 5.0f}), 0);
}

TEST(SamplerTest, DrawsFollowTheDistribution) {
  const auto drawn = Frequencies({}, {std::log(0.5f), std::log(0.3f), std::log(0.2f)}, 20000);
  EXPECT_NEAR(drawn.at(0) / 20000.0, 0.5, 0.02);
  EXPECT_NEAR(drawn.at(1) / 20000.0, 0.3, 0.02);
  EXPECT_NEAR(drawn.at(2) / 20000.0, 0.2, 0.02);
}

TEST(SamplerTest, TemperatureSharpens) {
  SamplingParams params;
  params.temperature = 0.5f;  // probabilities squared: 0.25 : 0.09 : 0.04
  const auto drawn = Frequencies(params, {std::log(0.5f), std::log(0.3f), std::log(0.2f)}, 20000);
  EXPECT_NEAR(drawn.at(0) / 20000.0, 0.25 / 0.38, 0.02);
}

TEST(SamplerTest, TopKTopPAndMinPCut) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.3f), std::log(0.2f)};
  SamplingParams top_k;
  top_k.top_k = 2;
  EXPECT_EQ(Frequencies(top_k, logits, 500).size(), 2u);
  SamplingParams top_p;
  top_p.top_p = 0.65f;  // 0.4 + 0.3 reaches it
  const auto drawn = Frequencies(top_p, logits, 500);
  EXPECT_EQ(drawn.size(), 2u);
  EXPECT_TRUE(drawn.count(1) && drawn.count(2));
  SamplingParams min_p;
  min_p.min_p = 0.6f;  // at least 0.6 of 0.4
  EXPECT_EQ(Frequencies(min_p, logits, 500).size(), 2u);
  SamplingParams tiny_top_p;
  tiny_top_p.top_p = 1e-6f;
  EXPECT_EQ(Frequencies(tiny_top_p, logits, 50).size(), 1u);
}

TEST(SamplerTest, DrawDependsOnSeedAndIndexOnly) {
  const std::vector<float> logits(1000, 0.0f);
  EXPECT_EQ(SampleOne(Spec({}, 5, 3), logits), SampleOne(Spec({}, 5, 3), logits));
  int same = 0;
  for (int i = 0; i < 50; ++i) same += SampleOne(Spec({}, 5, i), logits) == SampleOne(Spec({}, 6, i), logits);
  EXPECT_LT(same, 5);
}

TEST(SamplerTest, PenaltiesFollowTheirFormulas) {
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2.0f;
  SampleSpec spec = Spec(params);
  spec.prompt_ids = {0};
  EXPECT_EQ(SampleOne(spec, {4.0f, 3.0f}), 1) << "4 / 2 < 3";
  EXPECT_EQ(SampleOne(spec, {-1.0f, -1.5f}), 1) << "-1 * 2 < -1.5";

  params = {};
  params.temperature = 0;
  params.frequency_penalty = 0.6f;
  spec = Spec(params);
  spec.prompt_ids = {0, 0, 0};  // frequency counts generated tokens only
  EXPECT_EQ(SampleOne(spec, {4.0f, 3.0f}), 0);
  spec.output_ids = {0, 0};
  EXPECT_EQ(SampleOne(spec, {4.0f, 3.0f}), 1) << "4 - 2 * 0.6 < 3";

  params = {};
  params.temperature = 0;
  params.presence_penalty = 1.5f;
  spec = Spec(params);
  spec.output_ids = {0, 0};
  EXPECT_EQ(SampleOne(spec, {4.0f, 3.0f}), 1) << "4 - 1.5 < 3";
  EXPECT_EQ(SampleOne(spec, {4.6f, 3.0f}), 0) << "once, not per occurrence";
}

TEST(SamplerTest, BansAndBias) {
  SamplingParams params;
  params.temperature = 0;
  SampleSpec spec = Spec(params);
  spec.banned = {1};
  EXPECT_EQ(SampleOne(spec, {1.0f, 9.0f, 2.0f}), 2);
  spec = Spec(params);
  spec.params.logit_bias = {{0, 100.0f}};
  EXPECT_EQ(SampleOne(spec, {1.0f, 9.0f, 2.0f}), 0);
}

TEST(SamplerTest, LogprobsAreOfTheModelsOwnDistribution) {
  SamplingParams params;
  params.temperature = 0.1f;
  params.logprobs = 2;
  params.logit_bias = {{0, 100.0f}};
  std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  Sampler sampler(3);
  const SampledToken token = sampler.Sample(1, Spec(params), logits);
  ASSERT_TRUE(token.logprobs.has_value());
  EXPECT_EQ(token.id, 0);
  EXPECT_NEAR(token.logprobs->chosen.logprob, std::log(0.2f), 1e-5);
  EXPECT_EQ(token.logprobs->chosen.rank, 3);
  ASSERT_EQ(token.logprobs->top.size(), 2u);
  EXPECT_EQ(token.logprobs->top[0].id, 1);
  EXPECT_NEAR(token.logprobs->top[1].logprob, std::log(0.3f), 1e-5);
}

TEST(SamplerTest, NanAndInfinityNeverCrashNorWin) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  SamplingParams greedy;
  greedy.temperature = 0;
  EXPECT_EQ(SampleOne(Spec(greedy), {nan, 1.0f, -inf}), 1);
  EXPECT_EQ(SampleOne(Spec({}), {nan, 1.0f, -inf}), 1);
  EXPECT_EQ(SampleOne(Spec({}), {nan, 1.0f, inf}), 2);
  SampleSpec all_banned = Spec({});
  all_banned.banned = {0, 1};
  const TokenId id = SampleOne(all_banned, {1.0f, 2.0f});
  EXPECT_TRUE(id == 0 || id == 1);
}

}  // namespace
}  // namespace penstock
