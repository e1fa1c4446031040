// Where requests go, without engines; and what that does to the time to the first token, in virtual time.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/replica_router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>

#include "engine/engine_core.h"
#include "engine/test_support.h"
#include "plan/cost_model.h"
#include "sim/cost_model_step_cost.h"
#include "sim/sim_executor.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 4;

ReplicaRouterConfig Config(std::vector<int32_t> num_blocks) {
  return {.num_blocks = std::move(num_blocks), .block_size = kBlockSize, .key = {1, 2}};
}

EngineLoad Load(double backlog_us, uint64_t num_admitted = 1000) {
  static const auto kCost =
      std::make_shared<const CostModel>(CostModel{.stages = {{.token_us = 10, .pair_us = 0.01}}});
  EngineLoad load;
  load.backlog_us = backlog_us;
  load.cost = kCost;
  load.num_admitted = num_admitted;
  return load;
}

// Sends requests as an engine would.
class Sender {
 public:
  explicit Sender(const ReplicaRouterConfig& config)
      : router(config), num_replicas_(config.num_blocks.size()) {}

  int32_t Send(const Request& request, const std::vector<EngineLoad>& loads,
               std::vector<bool> may_take = {}) {
    may_take.resize(num_replicas_, true);
    const Result<Assignment> at = router.Assign(request, router.BlocksOf(request), loads, may_take);
    EXPECT_TRUE(at.ok()) << at.status().message();
    router.OnTaken(*at);
    return at->replica;
  }

  ReplicaRouter router;

 private:
  const size_t num_replicas_;
};

TEST(ReplicaRouterTest, GoesWhereLeastTimeIsQueuedNotWhereTheFewestAre) {
  Sender sender(Config({1000, 1000}));
  // One long prompt on replica 0, three short ones on replica 1: 400 * 10 + 800 is more than 3 * (200 + 2).
  const std::vector<EngineLoad> idle = {Load(0, 0), Load(0, 0)};
  EXPECT_EQ(sender.Send(MakeRequest("long", CountingPrompt(400), 1), idle), 0);
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sender.Send(MakeRequest("short" + std::to_string(i), CountingPrompt(20, 100 * i), 1), idle), 1);
  }
  // The same when the engines tell it.
  EXPECT_EQ(sender.Send(MakeRequest("next", CountingPrompt(20, 900), 1), {Load(4800), Load(700)}), 1);
  EXPECT_EQ(sender.Send(MakeRequest("other", CountingPrompt(20, 901), 1), {Load(600), Load(7000)}), 0);
}

TEST(ReplicaRouterTest, WhatWasSentCountsOnceUntilItIsInTheNumbers) {
  Sender sender(Config({1000, 1000}));
  EXPECT_EQ(sender.Send(MakeRequest("a", CountingPrompt(100), 1), {Load(0, 0), Load(0, 0)}), 0);
  // Not admitted: replica 0 is worse by 1050. Admitted, and in its numbers: it is not.
  EXPECT_EQ(sender.Send(MakeRequest("b", CountingPrompt(20, 500), 1), {Load(0, 0), Load(900, 0)}), 1);
  EXPECT_EQ(sender.Send(MakeRequest("c", CountingPrompt(20, 600), 1), {Load(0, 1), Load(100, 1)}), 0);
}

TEST(ReplicaRouterTest, EqualOnesTakeTurnsTheLeastLoadedFirst) {
  Sender sender(Config({1000, 1000, 1000}));
  const std::vector<EngineLoad> idle = {Load(0), Load(1), Load(0)};  // within what the model can tell
  std::vector<int32_t> took;
  for (int32_t i = 0; i < 6; ++i) {
    took.push_back(sender.Send(MakeRequest(std::to_string(i), CountingPrompt(50, 70 * i), 1), idle));
  }
  EXPECT_EQ(took, (std::vector<int32_t>{0, 1, 2, 0, 1, 2}));
  // Replica 1 has less to decode than the others.
  sender.router.OnEnd("1", true);
  EXPECT_EQ(sender.Send(MakeRequest("x", CountingPrompt(50, 700), 1), idle), 1);
}

TEST(ReplicaRouterTest, FollowsAPrefixUnlessTheQueueThereTakesLonger) {
  Sender sender(Config({1000, 1000}));
  std::vector<TokenId> document = CountingPrompt(401);
  EXPECT_EQ(sender.Send(MakeRequest("first", document, 1), {Load(0), Load(0)}), 0);
  sender.router.OnEnd("first", true);
  const auto ask = [&](const char* id, double backlog_us) {
    return sender.Send(MakeRequest(id, document, 1), {Load(backlog_us), Load(0)});
  };
  EXPECT_EQ(ask("second", 4000), 0);  // saves 400 * 10 + 0.01 * 400²/2 = 4800
  EXPECT_EQ(ask("third", 6000), 1);
  // Now both have it.
  EXPECT_EQ(ask("fourth", 50), 1);
}

TEST(ReplicaRouterTest, PrefixesAreKeptApartBySaltAndForgottenWhereTheyWereNotComputed) {
  Sender sender(Config({1000, 1000}));
  const std::vector<EngineLoad> loads = {Load(2000), Load(0)};
  EXPECT_EQ(sender.Send(MakeRequest("a", CountingPrompt(401), 1), {Load(0), Load(5)}), 0);
  Request salted = MakeRequest("salted", CountingPrompt(401), 1);
  salted.cache_salt = "x";
  EXPECT_EQ(sender.Send(salted, loads), 1);
  Request whole = MakeRequest("logprobs", CountingPrompt(401), 1);
  whole.sampling.prompt_logprobs = 1;
  EXPECT_EQ(sender.Send(whole, loads), 1);
  EXPECT_EQ(sender.Send(MakeRequest("b", CountingPrompt(401), 1), loads), 0);
  sender.router.OnEnd("b", false);  // that "a" has brought is still there
  EXPECT_EQ(sender.Send(MakeRequest("c", CountingPrompt(401), 1), loads), 0);
  sender.router.OnEnd("c", false);
  sender.router.OnEnd("a", false);
  EXPECT_EQ(sender.Send(MakeRequest("d", CountingPrompt(401), 1), loads), 1);
}

TEST(ReplicaRouterTest, RemembersAsMuchAsAReplicaCanHold) {
  Sender sender(Config({100, 100}));
  const std::vector<EngineLoad> loads = {Load(2000), Load(0)};
  EXPECT_EQ(sender.Send(MakeRequest("a", CountingPrompt(321), 1), {Load(0), Load(9000)}), 0);
  EXPECT_EQ(sender.Send(MakeRequest("b", CountingPrompt(321, 1000), 1), {Load(0), Load(9000)}), 0);
  // 80 blocks of "b" and the first 20 of "a" are left: those save 816.
  EXPECT_EQ(sender.Send(MakeRequest("b again", CountingPrompt(321, 1000), 1), loads), 0);
  EXPECT_EQ(sender.Send(MakeRequest("a again", CountingPrompt(321), 1), loads), 1);
}

TEST(ReplicaRouterTest, OneIdOneRequestAndOnlyThoseThatMay) {
  Sender sender(Config({10, 10}));
  const std::vector<EngineLoad> loads = {Load(0), Load(0)};
  EXPECT_EQ(sender.Send(MakeRequest("a", CountingPrompt(9), 1), {Load(0), Load(500)}, {false, true}), 1);
  const Request again = MakeRequest("a", CountingPrompt(9), 1);
  EXPECT_EQ(sender.router.Assign(again, {}, loads, {true, true}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(sender.router.Find("a"), 1);
  sender.router.OnEnd("a", true);
  EXPECT_EQ(sender.router.Find("a"), -1);
}

TEST(ReplicaRouterTest, WithoutACostModelTokensDecide) {
  Sender sender(Config({100, 100}));
  EngineLoad busy, free;
  busy.waiting_prompt_tokens = 900;
  free.waiting_prompt_tokens = 100;
  EXPECT_EQ(sender.Send(MakeRequest("a", CountingPrompt(9), 1), {busy, free}), 1);
  free.prefill_us_per_token = 5;  // one speed for both
  EXPECT_EQ(sender.Send(MakeRequest("b", CountingPrompt(9), 1), {free, busy}), 0);
}

// ---- In virtual time ----

constexpr int64_t kNever = INT64_MAX;

class VirtualReplicas {
 public:
  VirtualReplicas(int32_t num_replicas, const CostModel& cost,
                  SchedulingPolicy policy = SchedulingPolicy::kFcfs) {
    EngineConfig config;
    config.vocab_size = 1000;
    config.scheduler.max_num_batched_tokens = 512;
    config.scheduler.max_num_seqs = 64;
    config.scheduler.block_size = 16;
    config.scheduler.num_blocks = 4096;
    config.scheduler.max_model_len = 16384;
    config.scheduler.policy = policy;
    for (int32_t i = 0; i < num_replicas; ++i) {
      SimConfig sim{.num_stages = cost.num_stages(), .num_blocks = 4096, .cost = MakeStepCost(cost)};
      sim.track_contents = false;
      executors.push_back(std::make_unique<SimExecutor>(std::move(sim), clock));
      cores.push_back(std::make_unique<EngineCore>(config, *executors.back(), texts));
      cores.back()->SetCost(cost);
    }
  }

  // Mean microseconds to the first token of requests that come at their times and go where `route` says.
  double MeanTtftUs(const std::vector<std::pair<int64_t, Request>>& traffic,
                    const std::function<int32_t(const Request&)>& route,
                    const std::function<void(const std::string&)>& on_end) {
    double total_us = 0;
    size_t next = 0, ended = 0;
    while (ended < traffic.size()) {
      for (size_t i = 0; i < cores.size(); ++i) cores[i]->Tick(clock.now_us());
      int64_t until_us = next < traffic.size() ? traffic[next].first : kNever;
      for (const auto& executor : executors) {
        until_us = std::min(until_us, executor->NextEventUs().value_or(kNever));
      }
      for (const auto& core : cores) {
        if (core->NextWakeUs() != SubmitPacer::kNever) until_us = std::min(until_us, core->NextWakeUs());
      }
      if (until_us == kNever) break;
      clock.AdvanceTo(std::max(until_us, clock.now_us()));
      while (next < traffic.size() && traffic[next].first <= clock.now_us()) {
        const Request& request = traffic[next++].second;
        cores[route(request)]->Admit(
            request,
            [&, id = request.request_id](RequestOutput output) {
              if (output.finish_reason == FinishReason::kNone) return;
              total_us += static_cast<double>(output.times.first_token_us - output.times.arrival_us);
              ++ended;
              on_end(id);
            },
            clock.now_us());
      }
    }
    EXPECT_EQ(ended, traffic.size());
    return total_us / static_cast<double>(traffic.size());
  }

  VirtualClock clock;
  LetterTexts texts;
  std::vector<std::unique_ptr<SimExecutor>> executors;
  std::vector<std::unique_ptr<EngineCore>> cores;
};

// A few very long prompts among many short ones, which often share one of eight beginnings.
std::vector<std::pair<int64_t, Request>> SkewedTraffic(uint32_t seed) {
  std::mt19937 random(seed);
  const auto draw = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
  std::vector<std::pair<int64_t, Request>> traffic;
  int64_t now_us = 0;
  for (int32_t i = 0; i < 200; ++i) {
    now_us += draw(36'000);
    std::vector<TokenId> ids;
    if (draw(10) == 0) {
      ids.resize(8000);
      for (TokenId& id : ids) id = draw(1000);
    } else {
      ids.assign(800, draw(8));
      for (int32_t k = 0; k < 100; ++k) ids.push_back(draw(1000));
    }
    traffic.emplace_back(now_us, MakeRequest(std::to_string(i), std::move(ids), 2));
  }
  return traffic;
}

TEST(ReplicaRouterTest, MeanTimeToFirstTokenIsBelowThatOfTurnsAndOfCounts) {
  const CostModel cost{.stages = {{.step_us = 500, .token_us = 20, .pair_us = 0.002}}};
  for (uint32_t seed : {1u, 2u, 3u}) {
    const auto traffic = SkewedTraffic(seed);
    VirtualReplicas in_turn(2, cost), by_count(2, cost), routed(2, cost);
    int32_t turn = 0;
    const double in_turn_us =
        in_turn.MeanTtftUs(traffic, [&](const Request&) { return turn++ % 2; }, [](const std::string&) {});
    const double by_count_us = by_count.MeanTtftUs(
        traffic,
        [&](const Request&) {
          const auto live = [&](int32_t i) {
            const EngineStats stats = by_count.cores[i]->Stats();
            return stats.num_running + stats.num_waiting;
          };
          return live(0) != live(1) ? live(1) < live(0) : turn++ % 2;
        },
        [](const std::string&) {});
    Sender sender({.num_blocks = {4096, 4096}, .block_size = 16, .key = {1, 2}});
    const double routed_us = routed.MeanTtftUs(
        traffic,
        [&](const Request& request) {
          std::vector<EngineLoad> loads(2);
          for (size_t i = 0; i < 2; ++i) routed.cores[i]->UpdateLoad(&loads[i]);
          return sender.Send(request, loads);
        },
        [&](const std::string& id) { sender.router.OnEnd(id, true); });
    EXPECT_LT(routed_us, 0.8 * in_turn_us) << "seed " << seed << ": " << routed_us << " " << by_count_us;
    EXPECT_LT(routed_us, 0.95 * by_count_us) << "seed " << seed << ": " << in_turn_us;
  }
}

}  // namespace
}  // namespace penstock
