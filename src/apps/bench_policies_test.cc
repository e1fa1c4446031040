// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_policies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "apps/recording_executor.h"
#include "apps/shared_executor.h"
#include "apps/testing/small_plan.h"
#include "engine/test_support.h"
#include "sim/realtime_sim_executor.h"

namespace penstock {
namespace {

const CostModel kTruth = {{{.step_us = 300, .token_us = 2}, {.step_us = 300, .token_us = 2}}};

std::unique_ptr<RealtimeSimExecutor> MakeSim(std::vector<int32_t>* step_tokens = nullptr) {
  SimConfig sim{.num_stages = 2, .num_blocks = 128, .block_size = 64};
  sim.cost = [](const Step& step, int stage) {
    return std::llround(kTruth.stages[stage].Predict(WorkOf(step)));
  };
  sim.fault = [step_tokens](const Step& step) {
    if (step_tokens) step_tokens->push_back(step.num_tokens());
    return SimFault{};
  };
  return std::make_unique<RealtimeSimExecutor>(std::move(sim));
}

LoadedModel SimulatedModel(std::vector<int32_t>* step_tokens = nullptr) {
  LoadedModel model;
  model.plan = SmallPlan();
  model.texts = std::make_unique<LetterTexts>();
  model.pipeline = MakeSim(step_tokens);
  return model;
}

TEST(MeasurePolicies, InTurnOverOnePipeline) {
  std::vector<int32_t> step_tokens;
  const LoadedModel model = SimulatedModel(&step_tokens);
  RunConfig run = SmallRun("m");
  run.chunk_policies = {ChunkPolicy::kStatic, ChunkPolicy::kOptimal};
  PipelineCost cost;
  cost.model = kTruth;
  const Result<PolicyReport> report = MeasurePolicies(
      run, model, cost, {.input_len = 3000, .output_len = 1, .batch_size = 1, .detokenize = false}, 1, 2);
  ASSERT_TRUE(report.ok()) << report.status().message();
  const std::vector<PolicyRow> rows = PolicyRows(*report);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].policy, "static");
  EXPECT_EQ(rows[0].chunks, (std::vector<int32_t>{1024, 1024, 952}));
  EXPECT_EQ(rows[1].policy, "optimal");
  EXPECT_GT(rows[1].chunks.size(), 3u);
  for (const PolicyRow& row : rows) {
    EXPECT_EQ(std::accumulate(row.chunks.begin(), row.chunks.end(), 0), 3000);
    EXPECT_EQ(row.ttfts_s.size(), 2u);
    EXPECT_EQ(row.stage_busy_share.size(), 2u);
    EXPECT_GT(*row.efficiency, 0);
    EXPECT_LE(*row.predicted_ttft_s, row.ttft_s * 1.05);
    EXPECT_LE(*row.ideal_ttft_s, row.ttft_s);
  }
  // A B A B A B: the static policy's three steps stand apart.
  int num_changes = 0;
  for (size_t i = 1; i < step_tokens.size(); ++i) {
    num_changes += (step_tokens[i] == 1024) != (step_tokens[i - 1] == 1024) && step_tokens[i] == 1024;
  }
  EXPECT_EQ(num_changes, 2);
}

TEST(MakeBenchRequests, DifferFromSeedToSeed) {
  const BenchOptions options{.input_len = 50, .output_len = 1, .batch_size = 2, .detokenize = false};
  EXPECT_EQ(MakeBenchRequests(options, 1000, 3)[1].prompt_ids,
            MakeBenchRequests(options, 1000, 3)[1].prompt_ids);
  EXPECT_NE(MakeBenchRequests(options, 1000, 3)[0].prompt_ids,
            MakeBenchRequests(options, 1000, 4)[0].prompt_ids);
}

PolicyReport TwoPolicies() {
  PolicyReport report;
  report.input_len = 2000;
  report.cost = kTruth;
  const auto sample = [](double ttft_s, std::vector<int32_t> chunks) {
    return LatencySample{ttft_s + 1, {ttft_s}, {0.5 * ttft_s, 0.25 * ttft_s}, std::move(chunks)};
  };
  report.policies.push_back({.policy = "static",
                             .samples = {sample(0.03, {2000}), sample(0.01, {1}), sample(0.02, {1000, 1000})},
                             .cost = kTruth});
  report.policies.push_back({.policy = "optimal", .samples = {sample(0.01, {500, 1500})}, .cost = {}});
  return report;
}

TEST(PolicyReport, Json) {
  const Json json = PolicyJson(TwoPolicies());
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["policy"], "static");
  EXPECT_EQ(json[0]["ttft_s"], 0.02);
  EXPECT_EQ(json[0]["chunks"], (std::vector<int32_t>{1000, 1000}));
  // 2 stages, 2000 tokens, 2 us each: 4 ms of 20.
  EXPECT_NEAR(json[0]["efficiency"].get<double>(), 0.2, 1e-9);
  EXPECT_NEAR(json[0]["predicted_ttft_s"].get<double>(), 3 * 2300e-6, 1e-9);
  EXPECT_EQ(json[0]["stage_busy_share"], (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(json[1]["predicted_ttft_s"], Json());
}

TEST(PolicyReport, Text) {
  const std::string text = PolicyText(TwoPolicies());
  EXPECT_NE(text.find("static            0.020 s    0.007 s      20.0%  50.0% 25.0%    1000 1000\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("optimal           0.010 s          -"), std::string::npos) << text;
}

TEST(RecordingExecutor, RemembersStepsAndTimes) {
  const std::unique_ptr<RealtimeSimExecutor> sim = MakeSim();
  RecordingExecutor executor(*sim);
  auto step = std::make_unique<Step>();
  step->step_id = 1;
  Chunk& chunk = step->chunks.emplace_back();
  chunk.seq = 1;
  chunk.len = 100;
  chunk.token_ids.resize(100);
  chunk.block_ids = {0, 1};
  executor.Submit(std::move(step));
  while (!executor.Poll()) {
  }
  const auto samples = executor.TakeSamples();
  ASSERT_EQ(samples.size(), 2u);
  ASSERT_EQ(samples[1].size(), 1u);
  EXPECT_EQ(samples[1][0].work.tokens, 100);
  EXPECT_EQ(samples[1][0].time_us, 500);
  EXPECT_TRUE(executor.TakeSamples()[0].empty());
}

}  // namespace
}  // namespace penstock
