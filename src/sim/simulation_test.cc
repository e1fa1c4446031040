// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <gtest/gtest.h>

#include <numeric>

#include "plan/prompt_plan.h"

namespace penstock {
namespace {

const WholeModelCost kDeepSeek = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .floor = 0.16, .d0 = 0.015};
const WholeModelCost kKimi = {.alpha = 2.412e-5, .beta = 2.6e-9, .gamma = 2.156e-6, .d0 = 0.0456};

SimulationConfig ConfigOf(const WholeModelCost& cost, int num_stages, int32_t max_tokens = 32768) {
  SimulationConfig config;
  config.cost = MakeBalancedCost(cost, num_stages);
  config.max_num_batched_tokens = max_tokens;
  return config;
}

Traffic OnePrompt(int32_t len) { return {.requests = {{.prompt_len = len}}}; }

SimulationReport Static(const SimulationConfig& config, const Traffic& traffic) {
  return *Simulate(config, traffic, std::make_unique<StaticChunkPlanner>());
}

TEST(Simulation, StaticChunksTakeWhatTheRecurrenceSays) {
  const SimulationConfig config = ConfigOf(kDeepSeek, 2);
  const SimulationReport report = Static(config, OnePrompt(131072));
  const SimulatedRequest& request = report.requests.at(0);
  EXPECT_EQ(request.chunks, std::vector<int32_t>(4, 32768));
  EXPECT_NEAR(request.ttft_s, Makespan(config.cost, 0, request.chunks) / 1e6, 1e-5);
  EXPECT_NEAR(request.ttft_s, 27.00, 0.27);
  EXPECT_NEAR(report.efficiency, PipelineEfficiency(config.cost, 0, 131072, request.ttft_s * 1e6), 1e-9);
  EXPECT_EQ(report.policy, "static");
  EXPECT_EQ(report.num_steps(), 4);
  EXPECT_EQ(request.e2e_s, request.ttft_s);
  EXPECT_EQ(report.duration_s, request.ttft_s);
  ASSERT_EQ(report.stage_busy_share.size(), 2u);
  EXPECT_GT(report.stage_busy_share[0], report.efficiency);
}

// Measured by others: fixed chunks on four stages.
TEST(Simulation, FixedSizesOnFourStages) {
  const std::pair<int32_t, double> expected[] = {
      {32768, 14.88}, {16384, 11.53}, {8192, 10.15}, {4096, 10.38}, {2048, 12.42}};
  for (const auto& [chunk, ttft_s] : expected) {
    const SimulationReport report = Static(ConfigOf(kKimi, 4, chunk), OnePrompt(131072));
    EXPECT_NEAR(report.requests[0].ttft_s, ttft_s, 0.02 * ttft_s) << chunk;
  }
}

TEST(Simulation, WarmUpIsNotReported) {
  SimulationConfig config = ConfigOf(kDeepSeek, 2);
  const SimulationReport cold = Static(config, OnePrompt(131072));
  config.num_warm_up = 5;
  const SimulationReport warm = Static(config, OnePrompt(131072));
  EXPECT_EQ(warm.requests.size(), 1u);
  EXPECT_EQ(warm.requests[0].chunks, cold.requests[0].chunks);
  EXPECT_EQ(warm.requests[0].ttft_s, cold.requests[0].ttft_s);
  EXPECT_EQ(warm.trace.steps().front().submit_us, 0);
}

// A planner that says what it is shown.
class Witness : public ChunkPlanner {
 public:
  explicit Witness(std::vector<ChunkQuery>* queries, int* num_steps)
      : queries_(queries), num_steps_(num_steps) {}
  std::string_view name() const override { return "witness"; }
  int32_t NextChunk(const ChunkQuery& query) override {
    EXPECT_TRUE(cost_.known());
    queries_->push_back(query);
    return query.max_len;
  }
  void OnStep(const StepTiming&) override { ++*num_steps_; }
  void SetCost(const CostModel& cost) override { cost_ = cost; }

 private:
  std::vector<ChunkQuery>* queries_;
  int* num_steps_;
  CostModel cost_;
};

TEST(Simulation, PlannerIsWarmedUpWithFullLengthsAndToldTheCost) {
  SimulationConfig config = ConfigOf(kDeepSeek, 2);
  config.num_warm_up = 2;
  std::vector<ChunkQuery> queries;
  int num_steps = 0;
  const Traffic traffic = {.requests = {{.prompt_len = 65536}, {.prompt_len = 32768}}, .num_clients = 1};
  ASSERT_TRUE(Simulate(config, traffic, std::make_unique<Witness>(&queries, &num_steps)).ok());
  EXPECT_EQ(num_steps, 7);
  std::vector<int32_t> first_remaining;
  for (const ChunkQuery& query : queries) {
    if (query.pos == 0) first_remaining.push_back(query.remaining);
  }
  EXPECT_EQ(first_remaining, (std::vector<int32_t>{65536, 65536, 65536, 32768}));
}

TEST(Simulation, PrefixHitsAreServedFromTheCache) {
  SimulationConfig config = ConfigOf(kDeepSeek, 2);
  config.block_size = 16;
  config.num_warm_up = 1;
  Traffic traffic;
  for (int32_t i = 0; i < 8; ++i) {
    traffic.requests.push_back({.prompt_len = 20000 + 5000 * i, .cached_len = 19800 + 4950 * i});
  }
  traffic.num_clients = 3;
  const SimulationReport report = Static(config, traffic);
  for (size_t i = 0; i < traffic.requests.size(); ++i) {
    const SimulatedRequest& request = report.requests[i];
    EXPECT_NEAR(request.cached_len, traffic.requests[i].cached_len, 8);
    EXPECT_EQ(std::accumulate(request.chunks.begin(), request.chunks.end(), request.cached_len),
              request.prompt_len);
  }
}

TEST(Simulation, ClosedLoopClientsWaitForTheirAnswers) {
  const SimulationConfig config = ConfigOf(kDeepSeek, 2);
  Traffic traffic = {.requests = std::vector<SimRequest>(9, {.prompt_len = 8192, .output_len = 3}),
                     .num_clients = 3};
  const SimulationReport report = Static(config, traffic);
  for (const SimulatedRequest& request : report.requests) {
    int num_live = 0;  // when this one arrives
    for (const SimulatedRequest& other : report.requests) {
      num_live += other.arrival_s <= request.arrival_s && request.arrival_s < other.arrival_s + other.e2e_s;
    }
    EXPECT_EQ(num_live, 3);
    EXPECT_EQ(request.output_len, 3);
    EXPECT_GT(request.e2e_s, request.ttft_s);
  }
  EXPECT_EQ(report.requests[3].arrival_s, report.requests[0].arrival_s + report.requests[0].e2e_s);
}

TEST(Simulation, ClientsTakeTheirTime) {
  const SimulationConfig config = ConfigOf(kDeepSeek, 2);
  const Traffic traffic = {.requests = {{.prompt_len = 4096}, {.prompt_len = 8192}, {.prompt_len = 1024}},
                           .num_clients = 2,
                           .client_us = 1000,
                           .client_token_us = 10};
  const std::vector<SimulatedRequest> requests = Static(config, traffic).requests;
  EXPECT_NEAR(requests[0].arrival_s, 0.001 + 0.04096, 1e-9);
  EXPECT_NEAR(requests[1].arrival_s, 0.001 + 0.08192, 1e-9);
  const double first_end_s = requests[0].arrival_s + requests[0].e2e_s;
  EXPECT_NEAR(requests[2].arrival_s, first_end_s + 0.001 + 0.01024, 1e-9);
}

// Stages do not wait for a transfer, so it is paid once for each hop, not for each chunk.
TEST(Simulation, TransfersDelayTheNextStageOnly) {
  SimulationConfig config = ConfigOf(kDeepSeek, 4, 8192);
  const double without_s = Static(config, OnePrompt(131072)).requests[0].ttft_s;
  config.transfer_us = [](const Step& step) { return 2 * step.num_tokens(); };
  EXPECT_NEAR(Static(config, OnePrompt(131072)).requests[0].ttft_s, without_s + 3 * 8192 * 2e-6, 1e-5);
}

TEST(Simulation, OpenLoopArrivesWhenItArrives) {
  Traffic traffic = {.requests = {{.arrival_us = 1'000'000, .prompt_len = 8192},
                                  {.arrival_us = 60'000'000, .prompt_len = 8192}}};
  SimulationConfig config = ConfigOf(kDeepSeek, 2);
  config.num_warm_up = 1;
  const SimulationReport report = Static(config, traffic);
  EXPECT_EQ(report.requests[0].arrival_s, 1);
  EXPECT_EQ(report.requests[1].arrival_s, 60);
  EXPECT_DOUBLE_EQ(report.duration_s, 59 + report.requests[1].e2e_s);
  EXPECT_EQ(report.requests[0].ttft_s, report.requests[1].ttft_s);
}

TEST(Simulation, NoiseIsSeededAndCentred) {
  SimulationConfig config = ConfigOf(kDeepSeek, 4, 2048);
  const double exact_s = Static(config, OnePrompt(131072)).requests[0].ttft_s;
  config.noise = 0.05;
  const double noisy_s = Static(config, OnePrompt(131072)).requests[0].ttft_s;
  EXPECT_NE(noisy_s, exact_s);
  EXPECT_NEAR(noisy_s, exact_s, 0.1 * exact_s);
  EXPECT_EQ(Static(config, OnePrompt(131072)).requests[0].ttft_s, noisy_s);
  config.seed = 1;
  EXPECT_NE(Static(config, OnePrompt(131072)).requests[0].ttft_s, noisy_s);
}

TEST(Simulation, LongPromptsAndManyOfThem) {
  SimulationConfig config = ConfigOf(kDeepSeek, 16, 8192);
  config.block_size = 1024;
  const SimulationReport report =
      Static(config, {.requests = std::vector<SimRequest>(40, {.prompt_len = 1 << 20}), .num_clients = 8});
  EXPECT_EQ(report.requests.size(), 40u);
  EXPECT_GT(report.efficiency, 0.8);
  EXPECT_LT(report.efficiency, 0.9);
}

TEST(Simulation, RefusesWhatDoesNotFit) {
  SimulationConfig config = ConfigOf(kDeepSeek, 2);
  config.block_size = 1;
  const auto report = Simulate(config, {.requests = std::vector<SimRequest>(20, {.prompt_len = 1 << 20})},
                               std::make_unique<StaticChunkPlanner>());
  EXPECT_EQ(report.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(report.status().message().find("block size: got 1"), std::string::npos);
}

}  // namespace
}  // namespace penstock
