// SPDX-License-Identifier: Apache-2.0
#include "engine/stats_log.h"

#include <gtest/gtest.h>

#include "engine/engine_core.h"
#include "engine/test_support.h"
#include "sim/run_until_idle.h"

namespace penstock {
namespace {

constexpr int64_t kSecond = 1'000'000;

TEST(StatsLine, AsVllmPrintsIt) {
  EngineStats before, now;
  before.computed_prompt_tokens = 100;
  now.computed_prompt_tokens = 20100;
  before.generation_tokens = 7;
  now.generation_tokens = 32;
  now.num_running = 3;
  now.num_waiting = 1;
  now.kv_cache_usage = 0.1234;
  now.prefix_cache_queries = 1000;
  now.prefix_cache_hits = 505;
  EXPECT_EQ(StatsLine(before, now, 10 * kSecond),
            "Engine 000: Avg prompt throughput: 2000.0 tokens/s, Avg generation throughput: 2.5 tokens/s, "
            "Running: 3 "
            "reqs, Waiting: 1 reqs, GPU KV cache usage: 12.3%, Prefix cache hit rate: 50.5%");
}

TEST(StatsLog, LinesWhileThereIsTraffic) {
  VirtualClock clock;
  EngineConfig config;
  config.vocab_size = 100;
  config.scheduler.num_blocks = 10;
  config.scheduler.max_model_len = 100;
  SimExecutor executor({.num_stages = 1, .num_blocks = 10, .vocab_size = 100}, clock);
  LetterTexts texts;
  EngineCore core(config, executor, texts);
  StatsLog log(10 * kSecond);
  testing::internal::CaptureStderr();

  EXPECT_EQ(log.Tick(core, 5 * kSecond), StallDetector::kNever);  // idle
  core.Admit(MakeRequest("a", CountingPrompt(20), 2), [](RequestOutput) {}, 0);
  EXPECT_EQ(log.Tick(core, 7 * kSecond), 17 * kSecond);
  EXPECT_EQ(log.Tick(core, 9 * kSecond), 17 * kSecond);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");

  testing::internal::CaptureStderr();
  EXPECT_EQ(log.Tick(core, 17 * kSecond), 27 * kSecond);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("Running: 0 reqs, Waiting: 1 reqs"),
            std::string::npos);

  RunUntilIdle(core, executor, clock);
  testing::internal::CaptureStderr();
  EXPECT_EQ(log.Tick(core, 27 * kSecond), StallDetector::kNever);  // what ended since is told, and no more
  const std::string last = testing::internal::GetCapturedStderr();
  EXPECT_NE(last.find("prompt throughput: 2.0 tokens/s, Avg generation throughput: 0.2 tokens/s"),
            std::string::npos)
      << last;
  EXPECT_EQ(log.Tick(core, 37 * kSecond), StallDetector::kNever);
}

TEST(StatsLog, NoLinesWhereNoneAreWanted) {
  VirtualClock clock;
  EngineConfig config;
  config.vocab_size = 100;
  config.scheduler.num_blocks = 10;
  config.scheduler.max_model_len = 100;
  SimExecutor executor({.num_blocks = 10}, clock);
  LetterTexts texts;
  EngineCore core(config, executor, texts);
  core.Admit(MakeRequest("a", CountingPrompt(20), 2), [](RequestOutput) {}, 0);
  StatsLog log(0);
  EXPECT_EQ(log.Tick(core, 5 * kSecond), StallDetector::kNever);
}

}  // namespace
}  // namespace penstock
