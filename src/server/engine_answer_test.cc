// What the server says of how a prompt was computed, over sockets and the real engine, whose stages only
// sleep.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/log.h"
#include "engine/test_support.h"
#include "engine/threaded_engine.h"
#include "server/server.h"
#include "server/testing/fake_engine.h"
#include "server/testing/test_client.h"
#include "sim/realtime_sim_executor.h"

namespace penstock {
namespace {

class EngineAnswerTest : public testing::Test {
 protected:
  EngineAnswerTest() {
    SetLogLevel(LogLevel::kError);
    EngineConfig config;
    config.vocab_size = ByteTokenizer::kVocabSize;
    config.scheduler.max_num_batched_tokens = 64;
    config.scheduler.max_num_seqs = 8;
    config.scheduler.block_size = 4;
    config.scheduler.num_blocks = 256;
    config.scheduler.max_model_len = 900;
    SimConfig sim{.num_stages = 2, .num_blocks = 256, .block_size = 4, .vocab_size = 256};
    sim.cost = SimpleStepCost{.per_step_us = 300, .per_token_us = 10};
    executor_ = std::make_unique<RealtimeSimExecutor>(std::move(sim));
    engine_ = *MakeEngine(config, *executor_, texts_);
    ServerOptions options;
    options.http.host = "127.0.0.1";
    options.http.port = 0;
    options.served_model_names = {"tiny"};
    options.save_trace = [this](const std::string& trace) { saved_trace_ = trace; };
    server_ = *Server::Start(std::move(options), *engine_, tokenizer_, &template_);
  }
  ~EngineAnswerTest() override {
    server_->Stop();
    engine_.reset();
  }
  ClientResponse Post(std::string_view path, const Json& body) {
    return TestClient(server_->port()).Post(path, body);
  }
  static Json Completion(size_t prompt_len, Json more) {
    Json body = {{"prompt", std::string(prompt_len, 'x')}, {"max_tokens", 3}};
    body.update(more);
    return body;
  }

  std::unique_ptr<RealtimeSimExecutor> executor_;
  LetterTexts texts_;
  ByteTokenizer tokenizer_;
  PlainChatTemplate template_;
  std::string saved_trace_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
};

TEST_F(EngineAnswerTest, ProgressOfAPromptComesBeforeItsFirstToken) {
  for (const int64_t num_cached : {0, 196}) {
    const ClientResponse response = Post(
        "/v1/completions", Completion(200, {{"stream", true}, {"return_progress", true}, {"max_tokens", 2}}));
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_TRUE(response.Done());
    std::vector<int64_t> processed;
    bool any_text = false;
    for (const Json& event : response.Events()) {
      any_text |= !event["choices"][0]["text"].get<std::string>().empty();
      if (!event.contains("prompt_progress")) continue;
      EXPECT_FALSE(any_text);
      const Json& progress = event["prompt_progress"];
      EXPECT_EQ(progress["total"], 200);
      EXPECT_EQ(progress["cache"], num_cached);
      EXPECT_GE(progress["time_ms"].get<int64_t>(), 0);
      processed.push_back(progress["processed"]);
    }
    EXPECT_TRUE(any_text);
    EXPECT_EQ(processed, num_cached == 0 ? std::vector<int64_t>({0, 64, 128, 192, 200})
                                         : std::vector<int64_t>({196, 200}));
  }
}

TEST_F(EngineAnswerTest, MetricsTellHowAPromptWasComputed) {
  const Json answer = Post("/v1/completions", Completion(200, {{"return_metrics", true}})).BodyJson();
  const Json& metrics = answer["metrics"];
  EXPECT_EQ(metrics["chunk_sizes"], Json({64, 64, 64, 8}));
  EXPECT_EQ(metrics["prefill_chunks"], 4);
  EXPECT_EQ(metrics["cached_tokens"], 0);
  EXPECT_EQ(metrics["num_preemptions"], 0);
  EXPECT_GE(metrics["queue_time_ms"].get<double>(), 0);
  EXPECT_GT(metrics["prefill_time_ms"].get<double>(), 0);
  EXPECT_NEAR(metrics["time_to_first_token_ms"].get<double>(),
              metrics["queue_time_ms"].get<double>() + metrics["prefill_time_ms"].get<double>(), 0.01);

  const std::vector<Json> events =
      Post("/v1/completions", Completion(200, {{"return_metrics", true}, {"stream", true}})).Events();
  EXPECT_EQ(events.back()["metrics"]["chunk_sizes"], Json::array({4}));
  EXPECT_EQ(events.back()["metrics"]["cached_tokens"], 196);
  EXPECT_EQ(events.back()["choices"].size(), 0u);
  EXPECT_FALSE(events.back().contains("usage"));
}

TEST_F(EngineAnswerTest, ProfileIsATraceOfTheSteps) {
  EXPECT_EQ(Post("/stop_profile", Json::object()).status, 400);
  EXPECT_EQ(Post("/start_profile", Json::object()).status, 200);
  ASSERT_EQ(Post("/v1/completions", Completion(200, Json::object())).status, 200);
  const ClientResponse response = Post("/stop_profile", Json::object());
  ASSERT_EQ(response.status, 200);
  EXPECT_EQ(saved_trace_, response.body);
  std::map<std::string, int> categories;
  const Json trace = response.BodyJson();
  for (const Json& event : trace["traceEvents"]) ++categories[event.value("cat", "")];
  EXPECT_EQ(categories["step"], 2 * (4 + 2));  // chunks and decodes, on two stages
  EXPECT_EQ(categories["flow"], 2 * (4 + 2));
  EXPECT_GT(categories["bubble"], 0);
  EXPECT_EQ(Post("/stop_profile", Json::object()).status, 400);
}

TEST_F(EngineAnswerTest, MetricsPageShowsChunksAndBubbles) {
  ASSERT_EQ(Post("/v1/completions", Completion(200, Json::object())).status, 200);
  const std::string page = TestClient(server_->port()).Call("GET", "/metrics").body;
  for (const char* line :
       {"penstock:prefill_chunk_tokens_bucket{model_name=\"tiny\",engine=\"0\",le=\"32\"} 1\n",
        "penstock:prefill_chunk_tokens_bucket{model_name=\"tiny\",engine=\"0\",le=\"64\"} 4\n",
        "penstock:prefill_chunk_tokens_sum{model_name=\"tiny\",engine=\"0\"} 200\n",
        "penstock:scheduler_info{model_name=\"tiny\",engine=\"0\",scheduling_policy=\"srpt\",chunk_policy="
        "\"static\"} 1\n",
        "penstock:stage_bubble_seconds_total{model_name=\"tiny\",engine=\"0\",stage=\"1\",cause=\"waiting_"
        "for_"
        "receive\"} ",
        "penstock:stage_bubble_seconds_total{model_name=\"tiny\",engine=\"0\",stage=\"0\",cause=\"drain\"}"
        " "}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << "not in\n" << page;
  }
}

}  // namespace
}  // namespace penstock
