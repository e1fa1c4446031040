// Several engines as one: over engines that do what they are told, and over real ones in real time.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/replica_engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/json.h"
#include "engine/merge_stats.h"
#include "engine/test_support.h"
#include "engine/threaded_engine.h"
#include "sim/realtime_sim_executor.h"

namespace penstock {
namespace {

// Takes requests and keeps them.
class ToldEngine : public Engine {
 public:
  ToldEngine() {
    stats.num_blocks = 1000;
    stats.block_size = 4;
    limits_.max_model_len = 400;
    limits_.max_num_seqs = 8;
  }
  const EngineLimits& limits() const override { return limits_; }
  Status Submit(Request request, OutputSink sink) override {
    if (!refusal.ok()) return refusal;
    live[request.request_id] = std::move(sink);
    return OkStatus();
  }
  void Abort(const std::string& request_id) override { aborted.push_back(request_id); }
  EngineStats Stats() const override { return stats; }
  Status Health() const override { return health; }
  void ResetPrefixCache() override { ++num_resets; }
  void Drain(int64_t timeout_us) override { drained_us = timeout_us; }

  void Finish(const std::string& id) {
    RequestOutput output;
    output.finish_reason = FinishReason::kStop;
    output.num_output_tokens = 1;
    const OutputSink sink = live.at(id);
    live.erase(id);
    sink(std::move(output));
  }

  EngineLimits limits_;
  EngineStats stats;
  Status refusal, health;
  std::map<std::string, OutputSink> live;
  std::vector<std::string> aborted;
  int num_resets = 0;
  int64_t drained_us = -1;
};

class ReplicaEngineTest : public testing::Test {
 protected:
  void Start(int num_replicas) {
    std::vector<std::unique_ptr<Engine>> replicas;
    for (int i = 0; i < num_replicas; ++i) {
      auto replica = std::make_unique<ToldEngine>();
      told_.push_back(replica.get());
      replicas.push_back(std::move(replica));
    }
    engine_ = MakeReplicaEngine(std::move(replicas));
  }
  Status Submit(const std::string& id, int32_t len = 20) {
    return engine_->Submit(MakeRequest(id, CountingPrompt(len, 50 * next_++), 1), [](RequestOutput) {});
  }

  std::vector<ToldEngine*> told_;
  std::unique_ptr<Engine> engine_;
  int32_t next_ = 0;
};

TEST_F(ReplicaEngineTest, RoutesByTheBacklogThatReplicasTell) {
  Start(2);
  told_[0]->stats.prefill_backlog_seconds = 30;  // one very long prompt
  told_[0]->stats.num_waiting = 1;
  told_[1]->stats.prefill_backlog_seconds = 2;  // several short ones
  told_[1]->stats.num_waiting = 9;
  ASSERT_TRUE(Submit("a").ok());
  EXPECT_TRUE(told_[1]->live.contains("a"));
}

TEST_F(ReplicaEngineTest, PassesOverOneThatIsFullAndSaysSoOnlyIfAllAre) {
  Start(3);
  told_[0]->refusal = Unavailable("the engine has failed: gone");
  told_[1]->refusal = ResourceExhausted("The engine is currently busy");
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(Submit(id).ok());
    EXPECT_TRUE(told_[2]->live.contains(id));
  }
  told_[2]->refusal = ResourceExhausted("The engine is currently busy");
  EXPECT_EQ(Submit("d").code(), StatusCode::kResourceExhausted);
  told_[2]->refusal = OkStatus();
  ASSERT_TRUE(Submit("d").ok());  // nothing of it has been left behind
  // What is wrong with the request is said at once.
  told_[2]->refusal = InvalidArgument("too long");
  told_[0]->refusal = told_[1]->refusal = told_[2]->refusal;
  EXPECT_EQ(Submit("e").code(), StatusCode::kInvalidArgument);
}

TEST_F(ReplicaEngineTest, ASickReplicaGetsNothingAndHealthNamesIt) {
  Start(2);
  EXPECT_TRUE(engine_->Health().ok());
  told_[1]->health = Unavailable("no step has come back for 9 s");
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(Submit(id).ok());
    EXPECT_TRUE(told_[0]->live.contains(id));
  }
  EXPECT_EQ(engine_->Health().code(), StatusCode::kUnavailable);
  EXPECT_NE(engine_->Health().message().find("replica 1: no step"), std::string::npos);
}

TEST_F(ReplicaEngineTest, AbortGoesToTheOneThatHasIt) {
  Start(2);
  ASSERT_TRUE(Submit("a").ok());
  ASSERT_TRUE(Submit("b").ok());
  ASSERT_TRUE(told_[1]->live.contains("b"));
  EXPECT_EQ(Submit("b").code(), StatusCode::kInvalidArgument);  // the other one would not know
  engine_->Abort("b");
  engine_->Abort("unknown");
  EXPECT_EQ(told_[1]->aborted, std::vector<std::string>{"b"});
  EXPECT_TRUE(told_[0]->aborted.empty());
  told_[1]->Finish("b");
  engine_->Abort("b");
  EXPECT_EQ(told_[1]->aborted.size(), 1u);
  EXPECT_TRUE(Submit("b").ok());
}

TEST_F(ReplicaEngineTest, ResetsAndDrainsAll) {
  Start(3);
  engine_->ResetPrefixCache();
  engine_->Drain(7000);
  for (const ToldEngine* replica : told_) {
    EXPECT_EQ(replica->num_resets, 1);
    EXPECT_EQ(replica->drained_us, 7000);
  }
  EXPECT_EQ(Submit("late").code(), StatusCode::kUnavailable);
}

TEST_F(ReplicaEngineTest, StatsAreSumsAndTheWaitIsTheShortest) {
  Start(2);
  for (int i = 0; i < 2; ++i) {
    EngineStats& stats = told_[i]->stats;
    stats.num_running = 1 + i;
    stats.waiting_prompt_tokens = 1000 * (1 + i);
    stats.prefill_backlog_seconds = 10.0 * (2 - i);
    stats.prefill_us_per_token = 100;
    stats.kv_cache_usage = 0.25 + 0.5 * i;
    stats.steps = 5 + static_cast<uint64_t>(i);
    stats.cost_version = i;
    stats.finished["stop"] = 3;
    stats.stage_busy_seconds = {1.5};
    stats.stage_bubble_seconds = {{{"fill", 0.5}}};
    Histogram times({1, 10});
    times.Observe(i == 0 ? 0.5 : 20);
    stats.histograms["time_to_first_token_seconds"] = times;
  }
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.num_running, 3);
  EXPECT_EQ(stats.num_blocks, 2000);
  EXPECT_EQ(stats.block_size, 4);
  EXPECT_EQ(stats.waiting_prompt_tokens, 3000);
  EXPECT_DOUBLE_EQ(*stats.prefill_backlog_seconds, 10);
  EXPECT_DOUBLE_EQ(stats.prefill_us_per_token, 50);
  EXPECT_DOUBLE_EQ(stats.kv_cache_usage, 0.5);
  EXPECT_EQ(stats.steps, 11u);
  EXPECT_EQ(stats.cost_version, 1);
  EXPECT_EQ(stats.finished.at("stop"), 6u);
  EXPECT_DOUBLE_EQ(stats.stage_busy_seconds.at(0), 3);
  EXPECT_DOUBLE_EQ(stats.stage_bubble_seconds.at(0).at("fill"), 1);
  const Histogram& times = stats.histograms.at("time_to_first_token_seconds");
  EXPECT_EQ(times.counts, (std::vector<uint64_t>{1, 0, 1}));
  EXPECT_DOUBLE_EQ(times.sum, 20.5);
  EXPECT_EQ(engine_->ReplicaStats().size(), 2u);
  EXPECT_EQ(engine_->limits().max_num_seqs, 16);
}

TEST_F(ReplicaEngineTest, OneReplicaIsItself) {
  Start(1);
  EXPECT_EQ(engine_.get(), told_[0]);
  EXPECT_EQ(engine_->ReplicaStats().size(), 1u);
}

// ---- Real ones ----

class RealReplicasTest : public testing::Test {
 protected:
  void Start(int num_replicas, int64_t per_token_us = 1) {
    std::vector<std::unique_ptr<Engine>> replicas;
    for (int i = 0; i < num_replicas; ++i) {
      EngineConfig config;
      config.vocab_size = 1000;
      config.scheduler.max_num_batched_tokens = 64;
      config.scheduler.max_num_seqs = 16;
      config.scheduler.block_size = 4;
      config.scheduler.num_blocks = 256;
      config.scheduler.max_model_len = 800;
      config.engine_idx = i;
      config.num_engines = num_replicas;
      config.cost_prior.stages.assign(2, {.step_us = 100, .token_us = static_cast<double>(per_token_us)});
      config.measure_cost = true;
      SimConfig sim{.num_stages = 2, .num_blocks = 256, .block_size = 4, .vocab_size = 1000};
      sim.cost = SimpleStepCost{.per_step_us = 100, .per_token_us = static_cast<double>(per_token_us)};
      executors_.push_back(std::make_unique<RealtimeSimExecutor>(std::move(sim)));
      Result<std::unique_ptr<Engine>> replica = MakeEngine(config, *executors_.back(), texts_);
      ASSERT_TRUE(replica.ok()) << replica.status().message();
      replicas.push_back(*std::move(replica));
    }
    engine_ = MakeReplicaEngine(std::move(replicas));
  }
  ~RealReplicasTest() override { engine_.reset(); }

  void Submit(const std::string& id, std::vector<TokenId> prompt_ids, int32_t max_tokens) {
    ASSERT_TRUE(engine_
                    ->Submit(MakeRequest(id, std::move(prompt_ids), max_tokens),
                             [this, id](RequestOutput output) {
                               std::lock_guard lock(mutex_);
                               received_[id].Take(std::move(output));
                               changed_.notify_all();
                             })
                    .ok());
  }
  Received Wait(const std::string& id) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return received_[id].finished(); }));
    return received_[id];
  }

  std::vector<std::unique_ptr<RealtimeSimExecutor>> executors_;
  LetterTexts texts_;
  std::unique_ptr<Engine> engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Received> received_;
};

TEST_F(RealReplicasTest, AnswersAreTheSameOnEitherAndAPrefixComesBackToItsReplica) {
  Start(2);
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back("r" + std::to_string(i));
    Submit(ids.back(), CountingPrompt(100, 10 * (i % 4)), 5);
  }
  for (const std::string& id : ids) EXPECT_EQ(Wait(id).token_ids.size(), 5u);
  const std::vector<EngineStats> stats = engine_->ReplicaStats();
  EXPECT_GT(stats[0].steps, 0u);
  EXPECT_GT(stats[1].steps, 0u);
  EXPECT_EQ(engine_->Stats().finished.at("length"), 20u);
  for (int i = 0; i < 4; ++i) {
    const std::string id = "again" + std::to_string(i);
    Submit(id, CountingPrompt(100, 10 * i), 5);
    const Received again = Wait(id);
    EXPECT_EQ(again.last.num_cached_tokens, 96);
    EXPECT_EQ(again.token_ids, received_["r" + std::to_string(i)].token_ids);
  }
}

TEST_F(RealReplicasTest, WhatIsSentInOneBreathIsSpread) {
  Start(2);
  for (auto& executor : executors_) executor->SetHung(true);
  Submit("long", CountingPrompt(600), 1);
  // The engine threads need not have seen any of it.
  for (int i = 0; i < 3; ++i) Submit("short" + std::to_string(i), CountingPrompt(40, 100 + 50 * i), 1);
  const std::vector<EngineStats> stats = engine_->ReplicaStats();
  EXPECT_EQ(stats[0].num_running + stats[0].num_waiting, 1);
  EXPECT_EQ(stats[1].num_running + stats[1].num_waiting, 3);
  for (auto& executor : executors_) executor->SetHung(false);
  for (const char* id : {"long", "short0", "short1", "short2"}) Wait(id);
}

TEST_F(RealReplicasTest, LoadIsWhatTheStatsSay) {
  Start(1);
  EXPECT_EQ(engine_->Load().num_admitted, 0u);
  EXPECT_EQ(*engine_->Load().backlog_us, 0);
  executors_[0]->SetHung(true);
  Submit("a", CountingPrompt(200), 1);
  while (engine_->Load().num_admitted == 0) std::this_thread::yield();
  EXPECT_EQ(engine_->Load().waiting_prompt_tokens, 200);
  EXPECT_DOUBLE_EQ(*engine_->Load().backlog_us, *engine_->Stats().prefill_backlog_seconds * 1e6);
  EXPECT_GT(*engine_->Load().backlog_us, 0);
  executors_[0]->SetHung(false);
  Wait("a");
}

TEST_F(RealReplicasTest, TracesAreOneWithAProcessForEach) {
  Start(2);
  EXPECT_EQ(engine_->StopTrace(), "");
  engine_->StartTrace();
  for (const char* id : {"a", "b"}) Submit(id, CountingPrompt(100, *id), 3);
  for (const char* id : {"a", "b"}) Wait(id);
  const Json trace = Json::parse(engine_->StopTrace());
  std::map<int, std::string> names;
  std::map<std::string, int> pid_of_flow;
  for (const Json& event : trace["traceEvents"]) {
    const int pid = event["pid"];
    if (event["name"] == "process_name") names[pid] = event["args"]["name"];
    if (event["ph"] == "s") {
      EXPECT_TRUE(pid_of_flow.emplace(event["id"], pid).second) << event;
    }
  }
  EXPECT_EQ(names, (std::map<int, std::string>{{0, "replica 0"}, {1, "replica 1"}}));
  EXPECT_GE(pid_of_flow.size(), 2u);
}

TEST_F(RealReplicasTest, DrainsAllWithinOneDeadline) {
  Start(2, 1000);
  Submit("a", CountingPrompt(300), 100);
  Submit("b", CountingPrompt(300, 100), 100);
  engine_->Drain(0);
  for (const char* id : {"a", "b"}) EXPECT_EQ(Wait(id).reason(), FinishReason::kAbort);
  EXPECT_EQ(engine_->Health().code(), StatusCode::kUnavailable);
}

TEST_F(RealReplicasTest, IsDestroyedWithRequestsAlive) {
  Start(2, 1000);
  for (int i = 0; i < 6; ++i) Submit(std::to_string(i), CountingPrompt(300, 40 * i), 100);
  engine_.reset();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Wait(std::to_string(i)).reason(), FinishReason::kAbort);
}

}  // namespace
}  // namespace penstock
