// Threads: requests from many of them, over an executor in real time. Nothing here depends on how fast the
// machine is.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/threaded_engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/json.h"
#include "engine/test_support.h"
#include "sim/realtime_sim_executor.h"

namespace penstock {
namespace {

constexpr int32_t kVocab = 1000;
constexpr auto kPatience = std::chrono::seconds(60);  // for what must happen; never waited for in full

EngineConfig SmallConfig() {
  EngineConfig config;
  config.vocab_size = kVocab;
  config.scheduler.max_num_batched_tokens = 64;
  config.scheduler.max_num_seqs = 16;
  config.scheduler.block_size = 4;
  config.scheduler.num_blocks = 128;
  config.scheduler.max_model_len = 400;
  return config;
}

// A sink that can be waited for.
class Waiter {
 public:
  OutputSink Sink() {
    return [this](RequestOutput output) {
      std::unique_lock lock(mutex_);
      received_.Take(std::move(output));
      changed_.notify_all();
    };
  }
  Received Wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return received_.finished(); }));
    return received_;
  }
  void WaitForOutputs(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return received_.num_outputs >= count; }));
  }
  bool finished() {
    std::lock_guard lock(mutex_);
    return received_.finished();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Received received_;
};

class ThreadedEngineTest : public testing::Test {
 protected:
  void Start(EngineConfig config = SmallConfig(), SimConfig sim = {.num_stages = 2}) {
    sim.num_blocks = config.scheduler.num_blocks;
    sim.block_size = config.scheduler.block_size;
    sim.vocab_size = config.vocab_size;
    executor_ = std::make_unique<RealtimeSimExecutor>(std::move(sim));
    Result<std::unique_ptr<Engine>> engine = MakeEngine(config, *executor_, texts_);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = *std::move(engine);
  }
  ~ThreadedEngineTest() override { engine_.reset(); }

  // Waits until `condition` holds.
  static void Until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::unique_ptr<RealtimeSimExecutor> executor_;
  LetterTexts texts_;
  std::unique_ptr<Engine> engine_;
};

std::vector<TokenId> Expected(const Request& request) {
  SampleSpec spec;
  spec.params = request.sampling;
  return SimSampler(kVocab).Generate(request.prompt_ids, spec, request.sampling.max_tokens);
}

TEST_F(ThreadedEngineTest, AnswersAndReports) {
  Start();
  EXPECT_EQ(engine_->limits().num_stages, 2);
  EXPECT_EQ(engine_->limits().max_model_len, 400);
  EXPECT_TRUE(engine_->Health().ok());
  const Request request = MakeRequest("a", CountingPrompt(100), 10);
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(request, waiter.Sink()).ok());
  const Received answer = waiter.Wait();
  EXPECT_EQ(answer.token_ids, Expected(request));
  const EngineStats stats = engine_->Stats();  // at once: the sink's news is in it
  EXPECT_EQ(stats.finished.at("length"), 1u);
  EXPECT_EQ(stats.generation_tokens, 10u);
  EXPECT_GT(stats.last_progress_us, 0);
  // The same id again, at once.
  Waiter again;
  EXPECT_TRUE(engine_->Submit(request, again.Sink()).ok());
  EXPECT_EQ(again.Wait().last.num_cached_tokens, 96);
  engine_->ResetPrefixCache();
  Waiter fresh;
  EXPECT_TRUE(engine_->Submit(request, fresh.Sink()).ok());
  EXPECT_EQ(fresh.Wait().last.num_cached_tokens, 0);
}

TEST_F(ThreadedEngineTest, RefusesOnTheCallersThread) {
  EngineConfig config = SmallConfig();
  config.max_num_queued_reqs = 2;
  config.max_num_queued_tokens = 250;
  Start(config);
  executor_->SetHung(true);
  Waiter a, b, unused;
  auto never = [](RequestOutput) { ADD_FAILURE() << "a refused request has no outputs"; };
  EXPECT_EQ(engine_->Submit(MakeRequest("a", CountingPrompt(400), 1), never).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(300), 1), a.Sink()).ok());
  EXPECT_EQ(engine_->Submit(MakeRequest("a", CountingPrompt(10), 1), never).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->Submit(MakeRequest("b", CountingPrompt(10), 1), never).code(),
            StatusCode::kResourceExhausted);
  executor_->SetHung(false);
  a.Wait();
  executor_->SetHung(true);
  EXPECT_TRUE(engine_->Submit(MakeRequest("b", CountingPrompt(10), 1), b.Sink()).ok());
  EXPECT_TRUE(engine_->Submit(MakeRequest("c", CountingPrompt(10), 1), unused.Sink()).ok());
  EXPECT_EQ(engine_->Submit(MakeRequest("d", CountingPrompt(10), 1), never).code(),
            StatusCode::kResourceExhausted);
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.admission_rejections.at("max_num_queued_reqs"), 1u);
  EXPECT_EQ(stats.admission_rejections.at("max_num_queued_tokens"), 1u);
  executor_->SetHung(false);
  b.Wait();
  unused.Wait();
}

TEST_F(ThreadedEngineTest, AbortsARunningRequest) {
  Start(SmallConfig(), {.num_stages = 2, .cost = SimpleStepCost{.per_step_us = 2000}});
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 300), waiter.Sink()).ok());
  waiter.WaitForOutputs(3);
  engine_->Abort("a");
  engine_->Abort("unknown");
  const Received answer = waiter.Wait();
  EXPECT_EQ(answer.reason(), FinishReason::kAbort);
  Until([&] { return engine_->Stats().kv_cache_usage == 0; });
  EXPECT_EQ(engine_->Stats().finished.at("abort"), 1u);
}

TEST_F(ThreadedEngineTest, ManyThreadsSubmitAndAbort) {
  Start(SmallConfig(), {.num_stages = 3, .cost = SimpleStepCost{.per_step_us = 50}});
  constexpr int kThreads = 8;
  constexpr int kRequests = 30;
  std::atomic<int> num_right = 0;
  std::atomic<int> num_aborted = 0;
  std::atomic<bool> stop = false;
  std::thread scraper([&] {
    while (!stop) {
      const EngineStats stats = engine_->Stats();
      EXPECT_LE(stats.num_running, 16);
      EXPECT_TRUE(engine_->Health().ok());
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> clients;
  for (int thread = 0; thread < kThreads; ++thread) {
    clients.emplace_back([&, thread] {
      std::mt19937 random(thread);
      for (int i = 0; i < kRequests; ++i) {
        const Request request = MakeRequest(fmt::format("{}-{}", thread, i),
                                            CountingPrompt(1 + random() % 200, 10 * (random() % 4)),
                                            1 + static_cast<int32_t>(random() % 20));
        Waiter waiter;
        ASSERT_TRUE(engine_->Submit(request, waiter.Sink()).ok());
        if (random() % 3 == 0) engine_->Abort(request.request_id);
        const Received answer = waiter.Wait();
        EXPECT_EQ(answer.num_finishes, 1);
        if (answer.reason() == FinishReason::kAbort) {
          ++num_aborted;
        } else if (answer.token_ids == Expected(request)) {
          ++num_right;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop = true;
  scraper.join();
  EXPECT_EQ(num_right + num_aborted, kThreads * kRequests);
  EXPECT_GT(num_right, kThreads * kRequests / 2);
  Until([&] { return engine_->Stats().kv_cache_usage == 0; });
  EXPECT_EQ(executor_->violations(), std::vector<std::string>{});
}

TEST_F(ThreadedEngineTest, DrainWaitsForLiveRequests) {
  Start(SmallConfig(), {.num_stages = 2, .cost = SimpleStepCost{.per_step_us = 500}});
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
  engine_->Drain(60'000'000);
  EXPECT_TRUE(waiter.finished());
  EXPECT_EQ(waiter.Wait().reason(), FinishReason::kLength);
  EXPECT_EQ(engine_->Submit(MakeRequest("b", CountingPrompt(20), 1), waiter.Sink()).code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(engine_->Health().code(), StatusCode::kUnavailable);
}

TEST_F(ThreadedEngineTest, DrainAbortsWhatTakesTooLong) {
  Start();
  executor_->SetHung(true);
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
  engine_->Drain(1000);
  EXPECT_TRUE(waiter.finished());
  EXPECT_EQ(waiter.Wait().reason(), FinishReason::kAbort);
}

TEST_F(ThreadedEngineTest, DestructionAborts) {
  Start();
  executor_->SetHung(true);
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
  engine_.reset();
  EXPECT_TRUE(waiter.finished());
  executor_->SetHung(false);  // late results ring a bell that nobody hears
}

TEST_F(ThreadedEngineTest, HealthIsHonestAboutAHungExecutor) {
  EngineConfig config = SmallConfig();
  config.health = {.min_stall_us = 50'000, .factor = 3, .first_step_us = 50'000};
  Start(config);
  executor_->SetHung(true);
  EXPECT_TRUE(engine_->Health().ok());  // idle is healthy
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
  Until([&] { return !engine_->Health().ok(); });
  EXPECT_NE(engine_->Health().message().find("no step has come back"), std::string::npos);
  executor_->SetHung(false);
  EXPECT_EQ(waiter.Wait().reason(), FinishReason::kLength);
  Until([&] { return engine_->Health().ok(); });
}

TEST_F(ThreadedEngineTest, HealthAndStatsAnswerWhileTheEngineThreadIsStuck) {
  EngineConfig config = SmallConfig();
  config.health.min_stall_us = 20'000;
  Start(config);
  std::promise<void> release;
  Waiter done;
  auto blocking_sink = [&](RequestOutput output) {  // against its contract
    release.get_future().wait();
    done.Sink()(std::move(output));
  };
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 1), blocking_sink).ok());
  Until([&] { return !engine_->Health().ok(); });
  EXPECT_NE(engine_->Health().message().find("stuck"), std::string::npos);
  EXPECT_EQ(engine_->Stats().num_blocks, 128);
  release.set_value();
  done.Wait();
  Until([&] { return engine_->Health().ok(); });
}

TEST_F(ThreadedEngineTest, DeadExecutorIsReported) {
  SimConfig sim{.num_stages = 2};
  sim.fault = [](const Step&) { return SimFault{.status = Unavailable("rank 1 is gone")}; };
  Start(SmallConfig(), std::move(sim));
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
  EXPECT_EQ(waiter.Wait().reason(), FinishReason::kError);
  Until([&] { return !engine_->Health().ok(); });
  EXPECT_NE(engine_->Health().message().find("rank 1 is gone"), std::string::npos);
  EXPECT_EQ(engine_->Submit(MakeRequest("b", CountingPrompt(20), 1), waiter.Sink()).code(),
            StatusCode::kUnavailable);
}

TEST_F(ThreadedEngineTest, StepsThatAlwaysFailAreReported) {
  SimConfig sim{.num_stages = 2};
  sim.fault = [](const Step&) { return SimFault{.status = Internal("bad kernel")}; };
  Start(SmallConfig(), std::move(sim));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(engine_->Health().ok());
    Waiter waiter;
    ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(20), 20), waiter.Sink()).ok());
    EXPECT_EQ(waiter.Wait().reason(), FinishReason::kError);
  }
  Until([&] { return !engine_->Health().ok(); });
}

TEST_F(ThreadedEngineTest, TraceOfWhatRanMeanwhile) {
  Start();
  engine_->StartTrace();
  Waiter waiter;
  ASSERT_TRUE(engine_->Submit(MakeRequest("a", CountingPrompt(200), 2), waiter.Sink()).ok());
  waiter.Wait();
  const Result<Json> trace = ParseJson(engine_->StopTrace(), "trace");
  ASSERT_TRUE(trace.ok());
  int num_slices = 0;
  for (const Json& event : (*trace)["traceEvents"]) num_slices += event.value("cat", "") == "step";
  EXPECT_EQ(num_slices, 5 * 2);
  EXPECT_EQ(engine_->StopTrace(), "");
}

// Takes steps and says nothing.
class SilentExecutor : public Executor {
 public:
  int num_stages() const override { return 1; }
  void Submit(std::unique_ptr<Step>) override {
    if (num_steps++ == 0) begin_us_ = NowUs();
  }
  std::unique_ptr<StepResult> Poll() override { return nullptr; }
  FirstStageLoad FirstStage() const override { return {.num_steps = num_steps, .begin_us = begin_us_}; }
  void SetNotify(std::function<void()> notify) override { notify_ = std::move(notify); }
  Status Failure() const override { return is_gone_ ? Unavailable("process 1 is gone") : OkStatus(); }
  void Cancel(SeqId) override {}

  void Go() {
    is_gone_ = true;
    notify_();
  }

  std::atomic<int32_t> num_steps = 0;

 private:
  int64_t begin_us_ = 0;
  std::function<void()> notify_;
  std::atomic<bool> is_gone_ = false;
};

TEST_F(ThreadedEngineTest, AnExecutorThatGoesEndsAllAlsoWithoutAResult) {
  EngineConfig config = SmallConfig();
  for (const bool is_idle : {true, false}) {
    SilentExecutor executor;
    auto engine = *MakeEngine(config, executor, texts_);
    Waiter waiter;
    if (!is_idle) {
      ASSERT_TRUE(engine->Submit(MakeRequest("a", CountingPrompt(30), 1), waiter.Sink()).ok());
      Until([&] { return executor.num_steps == 1; });
    }
    executor.Go();
    if (!is_idle) {
      EXPECT_EQ(waiter.Wait().reason(), FinishReason::kError);
    }
    Until([&] { return !engine->Health().ok(); });
    EXPECT_NE(engine->Health().message().find("process 1 is gone"), std::string::npos);
    EXPECT_EQ(engine->Submit(MakeRequest("b", CountingPrompt(30), 1), waiter.Sink()).code(),
              StatusCode::kUnavailable);
  }
}

TEST_F(ThreadedEngineTest, WakesByItselfWhenTheNextStepIsDue) {
  EngineConfig config = SmallConfig();
  config.log_interval_us = 0;
  SilentExecutor executor;
  auto engine = *MakeEngine(config, executor, texts_);
  static_cast<ThreadedEngine&>(*engine).SetCost({{{.step_us = 40'000}}});
  Waiter waiter;
  ASSERT_TRUE(engine->Submit(MakeRequest("a", CountingPrompt(300), 1), waiter.Sink()).ok());
  Until([&] { return executor.num_steps == 2; });
}

TEST_F(ThreadedEngineTest, BadConfigurationIsRefused) {
  RealtimeSimExecutor executor({.num_stages = 1, .num_blocks = 1});
  EngineConfig config = SmallConfig();
  config.scheduler.num_blocks = 0;
  EXPECT_EQ(MakeEngine(config, executor, texts_).status().code(), StatusCode::kInvalidArgument);
  config = SmallConfig();
  config.vocab_size = 0;
  EXPECT_EQ(MakeEngine(config, executor, texts_).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
