// When steps are submitted, and what that is good for: requests that come while a long prompt is computed.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/submit_pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "engine/test_support.h"
#include "plan/prompt_plan.h"
#include "sim/run_until_idle.h"

namespace penstock {
namespace {

TEST(SubmitPacer, WaitsUntilTheFirstStageHasLittleLeft) {
  SubmitPacer pacer;
  EXPECT_EQ(pacer.NotBeforeUs({}, 1000), 1000);
  pacer.OnSubmit(500'000);
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = 1000}, 1000), 491'000);
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = 1000}, 490'000), 491'000);
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = 1000}, 491'000), 491'000);
  // It takes longer than it should: the next one is there, and no more than that.
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = 1000}, 700'000), 700'000);
  pacer.OnSubmit(500'000);
  EXPECT_GT(pacer.NotBeforeUs({.num_steps = 2, .begin_us = 1000}, 700'000), 700'000);
  // It ended early.
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 0, .begin_us = {}}, 300'000), 300'000);
  pacer.OnResult();
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = 500'000}, 500'000), 990'000);
}

TEST(SubmitPacer, ShortAndUnpredictedStepsAreQueued) {
  SubmitPacer pacer;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pacer.NotBeforeUs({.num_steps = i, .begin_us = 10}, 10), 10);
    pacer.OnSubmit(3000);
  }
  SubmitPacer blind;
  blind.OnSubmit(0);
  blind.OnSubmit(0);
  EXPECT_EQ(blind.NotBeforeUs({.num_steps = 2, .begin_us = {}}, 10), 10);
}

TEST(SubmitPacer, NeverAsksToBeWokenAtOnceWhereNothingMoves) {
  SubmitPacer pacer;
  pacer.OnSubmit(10'000.5);
  EXPECT_EQ(pacer.NotBeforeUs({.num_steps = 1, .begin_us = {}}, 0), 1000);
  pacer.OnSubmit(1e30);
  EXPECT_LE(pacer.NotBeforeUs({.num_steps = 2, .begin_us = 0}, 0), 1'000'000);
}

// ---- An engine over two stages, in virtual time
// --------------------------------------------------------------

// Chunks of the same predicted time. A short prompt that comes first gets a step without long ones.
class FixedTimePlanner : public ChunkPlanner {
 public:
  FixedTimePlanner(CostModel cost, double step_us) : cost_(std::move(cost)), step_us_(step_us) {}
  std::string_view name() const override { return "fixed-time"; }
  void BeginStep(const StepQuery& query) override {
    const PrefillDemand& first = query.prefills[0];
    short_step_ = cost_.BottleneckChunkUs(first.pos, first.remaining) < step_us_ / 4;
  }
  int32_t NextChunk(const ChunkQuery& query) override {
    if (short_step_) {
      const bool fits = cost_.BottleneckChunkUs(query.pos, query.remaining) < step_us_ / 4;
      return fits ? query.max_len : 0;
    }
    const double used_us = query.step_chunks.empty() ? 0 : cost_.BottleneckUs(WorkOf(query.step_chunks));
    return static_cast<int32_t>(LongestChunk(cost_, query.pos, step_us_ - used_us, query.max_len));
  }

 private:
  const CostModel cost_;
  const double step_us_;
  bool short_step_ = false;
};

constexpr int32_t kLongPrompt = 131'072;

class LongPrefill {
 public:
  // Steps take what `real` says; planner and pacer go by `believed`.
  LongPrefill(const CostModel& real, const CostModel& believed, double step_us, bool paced = true,
              SchedulingPolicy policy = SchedulingPolicy::kSrpt)
      : executor_(MakeSim(real), clock_),
        core_(MakeConfig(policy), executor_, texts_, std::make_unique<FixedTimePlanner>(believed, step_us)) {
    if (paced) core_.SetCost(believed);
    core_.StartTrace();
  }

  TimedEvent Arrival(std::string id, int32_t prompt_len, int32_t max_tokens, int64_t time_us) {
    return {time_us, [=, this](EngineCore& core, int64_t now_us) {
              Request request = MakeRequest(id, std::vector<TokenId>(prompt_len), max_tokens);
              request.cache_salt = id;
              core.Admit(
                  std::move(request), [this, id](RequestOutput output) { outputs_[id] = std::move(output); },
                  now_us);
            }};
  }
  void Run(std::vector<TimedEvent> events) {
    RunUntilIdle(core_, executor_, clock_, std::move(events));
    EXPECT_EQ(executor_.violations(), std::vector<std::string>{});
  }
  double TtftUs(const std::string& id) const {
    const RequestTimes& times = outputs_.at(id).times;
    return static_cast<double>(times.first_token_us - times.arrival_us);
  }
  EngineCore& core() { return core_; }

 private:
  static SimConfig MakeSim(const CostModel& cost) {
    SimConfig sim{.num_stages = cost.num_stages(), .num_blocks = kBlocks, .block_size = 64};
    sim.cost = [cost](const Step& step, int stage) {
      return static_cast<int64_t>(cost.stages[stage].Predict(WorkOf(step)));
    };
    sim.track_contents = false;
    return sim;
  }
  static EngineConfig MakeConfig(SchedulingPolicy policy) {
    EngineConfig config;
    config.vocab_size = 1000;
    config.scheduler.policy = policy;
    config.scheduler.max_num_batched_tokens = 32'768;
    config.scheduler.max_num_seqs = 64;
    config.scheduler.block_size = 64;
    config.scheduler.num_blocks = kBlocks;
    config.scheduler.max_model_len = kLongPrompt + 100;
    return config;
  }

  static constexpr int32_t kBlocks = 3 * kLongPrompt / 64;
  VirtualClock clock_;
  SimExecutor executor_;
  LetterTexts texts_;
  EngineCore core_;
  std::map<std::string, RequestOutput> outputs_;
};

// DeepSeek-V3.1 on the machines of vLLM-Ascend's tutorial, two stages.
const WholeModelCost kDeepSeek = {
    .alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .gamma = 0, .floor = 0.16, .d0 = 0.015};

CostModel Scaled(CostModel cost, double by) {
  for (StageCost& stage : cost.stages) {
    for (double* term : {&stage.step_us, &stage.token_us, &stage.floor_us, &stage.pair_us}) *term *= by;
  }
  return cost;
}

double LongTtftUs(const CostModel& real, const CostModel& believed, bool paced) {
  LongPrefill run(real, believed, 1e6, paced);
  run.Run({run.Arrival("long", kLongPrompt, 1, 0)});
  return run.TtftUs("long");
}

TEST(SubmitPacer, DoesNotMakeALongPromptSlower) {
  for (const std::vector<double>& shares : {std::vector<double>{1, 1}, {0.8, 1}, {1, 0.8}, {1, 1, 1, 1}}) {
    const CostModel cost = MakeWeightedCost(kDeepSeek, shares);
    EXPECT_LE(LongTtftUs(cost, cost, true), 1.001 * LongTtftUs(cost, cost, false));
  }
  // Nor where the prediction is far off.
  const CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  for (const double factor : {0.01, 0.5, 0.97, 1.03, 2.0, 100.0}) {
    const CostModel real = Scaled(cost, factor);
    EXPECT_LE(LongTtftUs(real, cost, true), 1.001 * LongTtftUs(real, cost, false)) << factor;
  }
}

// One-token requests, two in a second, for as long as a prompt of 128k is computed; in sum over some runs.
std::vector<double> ProbeLatenciesUs(double step_us, bool paced, SchedulingPolicy policy) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  std::vector<double> latencies;
  for (int seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    LongPrefill run(cost, cost, step_us, paced, policy);
    std::vector<TimedEvent> events = {run.Arrival("long", kLongPrompt, 1, 0)};
    std::vector<std::string> probes;
    for (double time_us = 0;;) {
      time_us += -5e5 * std::log(1 - std::uniform_real_distribution<>(0, 1)(random));
      if (time_us > 20e6) break;
      probes.push_back(std::to_string(probes.size()));
      events.push_back(run.Arrival(probes.back(), 32, 1, static_cast<int64_t>(time_us)));
    }
    run.Run(std::move(events));
    for (const std::string& probe : probes) latencies.push_back(run.TtftUs(probe));
  }
  std::sort(latencies.begin(), latencies.end());
  return latencies;
}

// What the first stage works on, and the same step on the second one: it cannot be less without interrupting.
TEST(SubmitPacer, ProbesDuringALongPrefillWaitForTwoSteps) {
  const CostModel cost = MakeBalancedCost(kDeepSeek, 2);
  const double own_us = cost.TraversalUs(WorkOf(ChunkShape{.pos = 0, .len = 32}));
  const auto p99_us = [](double step_us, bool paced, SchedulingPolicy policy) {
    const std::vector<double> latencies = ProbeLatenciesUs(step_us, paced, policy);
    return latencies[latencies.size() * 99 / 100];
  };
  for (const double step_us : {0.5e6, 1e6, 2e6}) {
    EXPECT_LE(p99_us(step_us, true, SchedulingPolicy::kSrpt), 2 * step_us + own_us);
    EXPECT_GT(p99_us(step_us, false, SchedulingPolicy::kSrpt), 3 * step_us);  // the step that is queued
    EXPECT_GT(p99_us(step_us, true, SchedulingPolicy::kFcfs), 10e6);  // all that is left of the prompt
  }
}

}  // namespace
}  // namespace penstock
