// All endpoints, as a client sees them.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/metrics_page.h"
#include "server/testing/server_fixture.h"

namespace penstock {
namespace {

class ServerTest : public ServerFixture {};

// ---- Chat
// ----------------------------------------------------------------------------------------------------------

TEST_F(ServerTest, ChatAnswersWhole) {
  Start();
  const ClientResponse response = Post("/v1/chat/completions", Chat());
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.Header("Content-Type"), "application/json");
  const Json body = response.BodyJson();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_GT(body["created"].get<int64_t>(), 1'700'000'000);
  ASSERT_EQ(body["choices"].size(), 1u);
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Hello world");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["stop_reason"].is_null());
  const auto prompt_tokens = static_cast<int64_t>(std::string("user:hi;assistant:").size());
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt_tokens);
  EXPECT_EQ(body["usage"]["completion_tokens"], 11);
  EXPECT_EQ(body["usage"]["total_tokens"], prompt_tokens + 11);
  EXPECT_TRUE(body["usage"]["prompt_tokens_details"].is_null());

  const std::vector<Request> submitted = engine_.submitted();
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].sampling.max_tokens, 2048 - prompt_tokens) << "chat answers may fill the context";
}

TEST_F(ServerTest, ChatLogprobsHaveOpenAiShape) {
  Start();
  engine_.SetScript({.text = "ab"});
  const Json body = Post("/v1/chat/completions", Chat({{"logprobs", true}, {"top_logprobs", 2}})).BodyJson();
  const Json& content = body["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["logprob"], -0.5);
  EXPECT_EQ(content[0]["bytes"], Json::array({97}));
  ASSERT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "b");
  EXPECT_EQ(content[0]["top_logprobs"][1]["logprob"], -1.5);
  EXPECT_EQ(Post("/v1/chat/completions", Chat({{"logprobs", true}}))
                .BodyJson()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
                .size(),
            0u);
}

TEST_F(ServerTest, ChatPassesToolsAndKwargsToTheTemplate) {
  Start();
  const Json tools = Json::array({{{"type", "function"}, {"function", {{"name", "f"}}}}});
  const Json body = Chat({{"tools", tools}, {"chat_template_kwargs", {{"enable_thinking", false}}}});
  ASSERT_EQ(Post("/v1/chat/completions", body).status, 200);
  const std::vector<TokenId> ids = engine_.submitted().at(0).prompt_ids;
  const std::string prompt = *tokenizer_.Decode(ids, false);
  EXPECT_EQ(prompt, "tools:1;kwargs:{\"enable_thinking\":false};user:hi;assistant:");
}

TEST_F(ServerTest, ChatContinuesFinalMessage) {
  Start();
  const Json messages =
      Json::array({{{"role", "user"}, {"content", "hi"}}, {{"role", "assistant"}, {"content", "I"}}});
  ASSERT_EQ(
      Post("/v1/chat/completions", Chat({{"messages", messages}, {"continue_final_message", true}})).status,
      200);
  EXPECT_EQ(*tokenizer_.Decode(engine_.submitted().at(0).prompt_ids, false), "user:hi;assistant:I;");
}

TEST_F(ServerTest, ChatWithoutTemplateSaysSo) {
  Start(/*with_template=*/false);
  const ClientResponse response = Post("/v1/chat/completions", Chat());
  ExpectError(response, 400, "messages");
  EXPECT_NE(response.body.find("no chat template"), std::string::npos);
  ExpectAlive();
}

TEST_F(ServerTest, TemplateThatRefusesIs400) {
  Start();
  const Json messages = Json::array({{{"role", "refused"}, {"content", "hi"}}});
  ExpectError(Post("/v1/chat/completions", Chat({{"messages", messages}})), 400);
}

TEST_F(ServerTest, NFansOutWithSeedsAndOneUsage) {
  Start();
  engine_.SetScript([](const Request& request) {
    return FakeEngine::Script{.text = std::string(3, static_cast<char>('a' + *request.sampling.seed))};
  });
  const Json body = Post("/v1/chat/completions", Chat({{"n", 3}, {"seed", 4}})).BodyJson();
  ASSERT_EQ(body["choices"].size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["message"]["content"], std::string(3, static_cast<char>('e' + i)));
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 18);
  EXPECT_EQ(body["usage"]["completion_tokens"], 9);
}

TEST_F(ServerTest, ReturnTokenIdsAndPromptLogprobs) {
  Start();
  engine_.SetScript({.text = "ab"});
  const Json body =
      Post("/v1/chat/completions", Chat({{"return_token_ids", true}, {"prompt_logprobs", 0}})).BodyJson();
  EXPECT_EQ(body["prompt_token_ids"].size(), 18u);
  EXPECT_EQ(body["choices"][0]["token_ids"], Json::array({97, 98}));
  ASSERT_EQ(body["prompt_logprobs"].size(), 18u);
  EXPECT_TRUE(body["prompt_logprobs"][0].is_null());
  const Json& second = body["prompt_logprobs"][1]["115"];  // "s" of "user"
  EXPECT_EQ(second["logprob"], -0.5);
  EXPECT_EQ(second["rank"], 1);
  EXPECT_EQ(second["decoded_token"], "s");
}

// ---- Completions
// ---------------------------------------------------------------------------------------------------

TEST_F(ServerTest, CompletionDefaultsToSixteenTokens) {
  Start();
  engine_.SetScript({.text = std::string(40, 'x')});
  const Json body = Post("/v1/completions", Completion()).BodyJson();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["text"], std::string(16, 'x'));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(
      Post("/v1/completions", Completion({{"max_tokens", nullptr}})).BodyJson()["usage"]["completion_tokens"],
      16);
}

TEST_F(ServerTest, CompletionTakesAllPromptForms) {
  Start();
  tokenizer_.adds_bos = true;
  const std::pair<Json, std::vector<std::vector<TokenId>>> cases[] = {
      {"ab", {{256, 97, 98}}},
      {Json::array({"a", "b"}), {{256, 97}, {256, 98}}},
      {Json::array({7, 8, 9}), {{7, 8, 9}}},
      {Json::parse("[[1],[2,3]]"), {{1}, {2, 3}}},
  };
  size_t seen = 0;
  for (const auto& [prompt, expected] : cases) {
    const Json body = Post("/v1/completions", Completion({{"prompt", prompt}})).BodyJson();
    ASSERT_EQ(body["choices"].size(), expected.size()) << prompt;
    const std::vector<Request> submitted = engine_.submitted();
    for (const std::vector<TokenId>& ids : expected)
      EXPECT_EQ(submitted.at(seen++).prompt_ids, ids) << prompt;
  }
  ASSERT_EQ(Post("/v1/completions", Completion({{"prompt", "a"}, {"add_special_tokens", false}})).status,
            200);
  EXPECT_EQ(engine_.submitted().back().prompt_ids, std::vector<TokenId>{97});
}

TEST_F(ServerTest, BatchOfPromptsTimesNIsIndexedByPromptThenChoice) {
  Start();
  engine_.SetScript([](const Request& request) {
    return FakeEngine::Script{.text = std::string(1, static_cast<char>(request.prompt_ids[0])) +
                                      std::to_string(*request.sampling.seed)};
  });
  const Json body =
      Post("/v1/completions", Completion({{"prompt", {"p", "q"}}, {"n", 2}, {"seed", 0}})).BodyJson();
  ASSERT_EQ(body["choices"].size(), 4u);
  const char* const expected[] = {"p0", "p1", "q0", "q1"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], expected[i]);
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 2) << "each prompt counts once";
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
}

TEST_F(ServerTest, EchoWithLogprobsIsWhatScorersNeed) {
  Start();
  engine_.SetScript({.text = "xyz"});
  const Json body =
      Post("/v1/completions",
           Completion({{"echo", true}, {"logprobs", 1}, {"max_tokens", 1}, {"prompt", {{97, 98}}}}))
          .BodyJson();
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["text"], "abx");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json::array({"a", "b", "x"}));
  EXPECT_EQ(logprobs["text_offset"], Json::array({0, 1, 2}));
  EXPECT_EQ(logprobs["token_logprobs"], Json::array({nullptr, -0.5, -0.5}));
  ASSERT_EQ(logprobs["top_logprobs"].size(), 3u);
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][1]["b"], -0.5);
}

TEST_F(ServerTest, EchoWithoutGenerationScoresThePrompt) {
  Start();
  const Json body =
      Post("/v1/completions", Completion({{"echo", true}, {"logprobs", 0}, {"max_tokens", 0}})).BodyJson();
  EXPECT_EQ(body["choices"][0]["text"], "abc");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"], Json::array({"a", "b", "c"}));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  EXPECT_EQ(engine_.submitted().at(0).sampling.max_tokens, 1);
}

TEST_F(ServerTest, StopReasonIsTheStringOrTheToken) {
  Start();
  engine_.SetScript({.text = "ab", .stop_reason = std::string("END")});
  EXPECT_EQ(Post("/v1/completions", Completion({{"stop", "END"}})).BodyJson()["choices"][0]["stop_reason"],
            "END");
  EXPECT_EQ(engine_.submitted().back().sampling.stop, std::vector<std::string>{"END"});
  engine_.SetScript({.text = "ab", .stop_reason = TokenId{98}});
  EXPECT_EQ(
      Post("/v1/completions", Completion({{"stop_token_ids", {98}}})).BodyJson()["choices"][0]["stop_reason"],
      98);
  EXPECT_EQ(engine_.submitted().back().sampling.stop_token_ids, std::vector<TokenId>{98});
}

TEST_F(ServerTest, OptionsOfUsageAndMetrics) {
  options_.answer.prompt_tokens_details = true;
  options_.answer.per_request_metrics = true;
  Start();
  const Json body = Post("/v1/completions", Completion()).BodyJson();
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
  EXPECT_TRUE(body["metrics"].contains("time_to_first_token_ms"));
}

TEST_F(ServerTest, MetricsOnRequest) {
  Start();
  EXPECT_TRUE(Post("/v1/completions", Completion()).BodyJson()["metrics"].is_null());
  const Json metrics = Post("/v1/completions", Completion({{"return_metrics", true}})).BodyJson()["metrics"];
  EXPECT_EQ(metrics["time_to_first_token_ms"], 9.0);
  EXPECT_EQ(metrics["queue_time_ms"], 2.0);
  EXPECT_EQ(metrics["prefill_time_ms"], 7.0);
  EXPECT_EQ(metrics["chunk_sizes"], Json({10, 5}));
  EXPECT_EQ(metrics["prefill_chunks"], 2);
  EXPECT_EQ(metrics["cached_tokens"], 3);
  EXPECT_EQ(metrics["num_preemptions"], 0);
  const Json several =
      Post("/v1/completions", Completion({{"return_metrics", true}, {"n", 2}})).BodyJson()["metrics"];
  ASSERT_EQ(several.size(), 2u);  // one for each choice
  EXPECT_EQ(several[1]["chunk_sizes"], Json({10, 5}));
}

TEST_F(ServerTest, RetryAfterIsThePredictedBacklog) {
  Start();
  engine_.SetSubmitStatus(ResourceExhausted("the queue is full"));
  EngineStats stats;
  stats.prefill_us_per_token = 5000;
  engine_.SetStats(stats);
  EXPECT_EQ(Post("/v1/completions", Completion()).Header("Retry-After"), "20") << "4000 tokens of 5 ms";
  stats.prefill_backlog_seconds = 41.7;
  engine_.SetStats(stats);
  EXPECT_EQ(Post("/v1/completions", Completion()).Header("Retry-After"), "42");
  stats.prefill_backlog_seconds = 0.1;
  engine_.SetStats(stats);
  EXPECT_EQ(Post("/v1/completions", Completion()).Header("Retry-After"), "1");
}

TEST_F(ServerTest, TruncatesPromptsWhereAsked) {
  Start();
  ASSERT_EQ(Post("/v1/completions", Completion({{"truncate_prompt_tokens", 2}})).status, 200);
  EXPECT_EQ(engine_.submitted().back().prompt_ids, (std::vector<TokenId>{98, 99}));
  ASSERT_EQ(Post("/v1/completions", Completion({{"truncate_prompt_tokens", 2}, {"truncation_side", "right"}}))
                .status,
            200);
  EXPECT_EQ(engine_.submitted().back().prompt_ids, (std::vector<TokenId>{97, 98}));
  ASSERT_EQ(Post("/v1/completions",
                 Completion({{"prompt", std::string(5000, 'a')}, {"truncate_prompt_tokens", -1}}))
                .status,
            200);
  EXPECT_EQ(engine_.submitted().back().prompt_ids.size(), 2048u - 16u);
}

TEST_F(ServerTest, GenerationConfigGivesDefaults) {
  options_.default_sampling.temperature = 0.6f;
  options_.default_sampling.top_k = 20;
  options_.default_max_tokens = 5;
  Start();
  ASSERT_EQ(Post("/v1/chat/completions", Chat()).status, 200);
  EXPECT_FLOAT_EQ(engine_.submitted().back().sampling.temperature, 0.6f);
  EXPECT_EQ(engine_.submitted().back().sampling.top_k, 20);
  EXPECT_EQ(engine_.submitted().back().sampling.max_tokens, 5);
  ASSERT_EQ(Post("/v1/chat/completions", Chat({{"temperature", 1.5}, {"max_tokens", 9}})).status, 200);
  EXPECT_FLOAT_EQ(engine_.submitted().back().sampling.temperature, 1.5f);
  EXPECT_EQ(engine_.submitted().back().sampling.max_tokens, 9);
}

// ---- Errors of the engine
// ------------------------------------------------------------------------------------------

TEST_F(ServerTest, RefusalsOfTheEngineMapToHttp) {
  Start();
  engine_.SetSubmitStatus(ResourceExhausted("the queue is full"));
  const ClientResponse full = Post("/v1/completions", Completion());
  ExpectError(full, 503);
  EXPECT_EQ(full.BodyJson()["error"]["type"], "ServiceUnavailableError");
  EXPECT_EQ(full.Header("Retry-After"), "8") << "4000 waiting tokens at 500 tokens/s";
  EXPECT_EQ(full.Header("x-should-retry"), "");
  engine_.SetSubmitStatus(InvalidArgument("cannot run"));
  ExpectError(Post("/v1/completions", Completion()), 400);
  engine_.SetSubmitStatus(Internal("broken"));
  const ClientResponse broken = Post("/v1/completions", Completion());
  ExpectError(broken, 500);
  EXPECT_EQ(broken.Header("x-should-retry"), "false");
  engine_.SetSubmitStatus(OkStatus());
  ExpectAlive();
}

TEST_F(ServerTest, FailureOfTheEngineIsA500AndEndsTheOtherChoices) {
  Start();
  engine_.SetScript([](const Request& request) {
    FakeEngine::Script script{.finish = FinishReason::kError, .error = Internal("step failed")};
    script.hang = *request.sampling.seed != 1;
    return script;
  });
  const ClientResponse response = Post("/v1/completions", Completion({{"n", 3}, {"seed", 0}}));
  ExpectError(response, 500);
  EXPECT_TRUE(Eventually([&] { return engine_.num_live() == 0; }));
}

// ---- Other endpoints
// -----------------------------------------------------------------------------------------------

TEST_F(ServerTest, Models) {
  Start();
  const Json list = Get("/v1/models").BodyJson();
  ASSERT_EQ(list["data"].size(), 2u);
  const Json& card = list["data"][0];
  EXPECT_EQ(card["id"], "tiny");
  EXPECT_EQ(card["root"], "/models/tiny");
  EXPECT_EQ(card["max_model_len"], 2048);
  EXPECT_TRUE(card["parent"].is_null());
  EXPECT_EQ(card["permission"].size(), 1u);
  EXPECT_EQ(Get("/v1/models/org/tiny").BodyJson()["id"], "org/tiny");
  EXPECT_EQ(Get("/v1/models/org%2Ftiny").BodyJson()["id"], "org/tiny");
  ExpectError(Get("/v1/models/other"), 404, "model");
  EXPECT_EQ(Post("/v1/completions", Completion({{"model", "org/tiny"}})).BodyJson()["model"], "org/tiny");
  EXPECT_EQ(Post("/v1/completions", {{"prompt", "x"}}).BodyJson()["model"], "tiny");
}

TEST_F(ServerTest, UnknownModelIs404) {
  Start();
  const ClientResponse response = Post("/v1/chat/completions", Chat({{"model", "gpt-9"}}));
  ExpectError(response, 404, "model");
  EXPECT_EQ(response.BodyJson()["error"]["message"], "The model `gpt-9` does not exist.");
  EXPECT_EQ(response.BodyJson()["error"]["type"], "NotFoundError");
}

TEST_F(ServerTest, TokenizeAndDetokenize) {
  Start();
  Json body = Post("/tokenize", {{"prompt", "ab"}, {"return_token_strs", true}}).BodyJson();
  EXPECT_EQ(body["count"], 2);
  EXPECT_EQ(body["max_model_len"], 2048);
  EXPECT_EQ(body["tokens"], Json::array({97, 98}));
  EXPECT_EQ(body["token_strs"], Json::array({"a", "b"}));
  body = Post("/tokenize", Chat()).BodyJson();
  EXPECT_EQ(body["count"], 18);
  EXPECT_TRUE(body["token_strs"].is_null());
  EXPECT_EQ(Post("/detokenize", {{"tokens", {104, 105}}}).BodyJson()["prompt"], "hi");
  ExpectError(Post("/detokenize", {{"tokens", {99999}}}), 400, "tokens");
  ExpectError(Post("/detokenize", Json::object()), 400, "tokens");
  ExpectError(Post("/tokenize", Json::object()), 400, "prompt");
}

TEST_F(ServerTest, HealthReadyPingFollowTheEngine) {
  Start();
  for (const char* path : {"/health", "/ready", "/ping"}) {
    const ClientResponse response = Get(path);
    EXPECT_EQ(response.status, 200) << path;
    EXPECT_TRUE(response.body.empty()) << path;
  }
  EXPECT_EQ(TestClient(port()).Call("POST", "/ping").status, 200);
  engine_.SetHealth(Unavailable("no progress for 60 s"));
  for (const char* path : {"/health", "/ready", "/ping"}) ExpectError(Get(path), 503);
}

TEST_F(ServerTest, InfoEndpoints) {
  options_.server_info = {{"pipeline_parallel_size", 2}};
  options_.tokenizer_info = Json({{"tokenizer_class", "Fast"}});
  Start();
  EXPECT_EQ(Get("/version").BodyJson()["version"], "0.1.0");
  EXPECT_EQ(Get("/server_info").BodyJson()["config"]["pipeline_parallel_size"], 2);
  EXPECT_EQ(Get("/tokenizer_info").BodyJson()["tokenizer_class"], "Fast");
  EXPECT_EQ(Get("/load").BodyJson()["waiting_prompt_tokens"], 4000);
  EXPECT_EQ(TestClient(port()).Call("POST", "/reset_prefix_cache").status, 200);
  EXPECT_EQ(engine_.num_cache_resets(), 1);
}

TEST_F(ServerTest, TokenizerInfoOnlyWithOption) {
  Start();
  ExpectError(Get("/tokenizer_info"), 404);
}

TEST_F(ServerTest, OpenApiNamesEveryPath) {
  Start();
  const Json document = Get("/openapi.json").BodyJson();
  for (const char* path :
       {"/v1/chat/completions", "/v1/completions", "/v1/models", "/tokenize", "/metrics", "/health"}) {
    EXPECT_TRUE(document["paths"].contains(path)) << path;
  }
  EXPECT_TRUE(
      document["components"]["schemas"]["ChatCompletionRequest"]["properties"].contains("temperature"));
}

TEST_F(ServerTest, MetricsHaveVllmNames) {
  Start();
  ExpectAlive();
  const ClientResponse response = Get("/metrics");
  EXPECT_EQ(response.Header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line : {
           "# TYPE vllm:num_requests_running gauge\n",
           "vllm:kv_cache_usage_perc{model_name=\"tiny\",engine=\"0\"} 0\n",
           "vllm:prompt_tokens_total{model_name=\"tiny\",engine=\"0\"} 1000\n",
           "vllm:request_success_total{model_name=\"tiny\",engine=\"0\",finished_reason=\"stop\"} 3\n",
           "vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",engine=\"0\",le=\"1\"} 0\n",
           "vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",engine=\"0\",le=\"+Inf\"} 1\n",
           "vllm:time_to_first_token_seconds_sum{model_name=\"tiny\",engine=\"0\"} 2\n",
           "vllm:time_to_first_token_seconds_count{model_name=\"tiny\",engine=\"0\"} 1\n",
           "penstock:stage_busy_seconds_total{model_name=\"tiny\",engine=\"0\",stage=\"1\"} 2.5\n",
           "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"} 1\n",
           "# TYPE process_resident_memory_bytes gauge\n",
       }) {
    EXPECT_NE(response.body.find(line), std::string::npos) << line << "not in\n" << response.body;
  }
}

TEST_F(ServerTest, MetricsShowTheCostModelAndTheBacklog) {
  EngineStats stats;
  stats.cost.stages = {{.token_us = 12.5}, {.pair_us = 0.25}};
  stats.prefill_backlog_seconds = 41.5;
  stats.scheduling_policy = "srpt";
  stats.chunk_policy = "optimal";
  stats.stage_bubble_seconds = {{{"host gap", 0.5}}, {{"fill", 2.0}}};
  engine_.SetStats(stats);
  Start();
  const std::string page = Get("/metrics").body;
  for (const char* line : {
           "penstock:cost_coefficient_microseconds{model_name=\"tiny\",engine=\"0\",stage=\"0\",term="
           "\"token\"} 12.5\n",
           "penstock:cost_coefficient_microseconds{model_name=\"tiny\",engine=\"0\",stage=\"1\",term="
           "\"pair\"} 0.25\n",
           "penstock:prefill_backlog_seconds{model_name=\"tiny\",engine=\"0\"} 41.5\n",
           "penstock:scheduler_info{model_name=\"tiny\",engine=\"0\",scheduling_policy=\"srpt\",chunk_"
           "policy=\"optimal\"} 1\n",
           "penstock:stage_bubble_seconds_total{model_name=\"tiny\",engine=\"0\",stage=\"0\",cause="
           "\"host_gap\"} 0.5\n",
           "penstock:stage_bubble_seconds_total{model_name=\"tiny\",engine=\"0\",stage=\"1\",cause="
           "\"fill\"} 2\n",
           "# TYPE penstock:prefill_chunk_tokens histogram\n",
       }) {
    EXPECT_NE(page.find(line), std::string::npos) << line << "not in\n" << page;
  }
}

TEST_F(ServerTest, EachReplicaHasItsOwnSeriesAndTheWaitIsTheShortest) {
  EngineStats first, second;
  first.prefill_backlog_seconds = 41.5;
  second.prefill_backlog_seconds = 7;
  second.num_running = 5;
  second.num_waiting = 2;
  second.waiting_prompt_tokens = 100;
  second.kv_cache_usage = 0.5;
  second.histograms["time_to_first_token_seconds"] = Histogram({1});
  engine_.SetStats(first);
  engine_.SetMoreReplicas({second});
  Start();
  const std::string page = Get("/metrics").body;
  const auto count = [&](const std::string& text) {
    int n = 0;
    for (size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("penstock:prefill_backlog_seconds{model_name=\"tiny\",engine=\"0\"} 41.5\n"
                  "penstock:prefill_backlog_seconds{model_name=\"tiny\",engine=\"1\"} 7\n"),
            1);  // a family's samples are together
  EXPECT_EQ(count("vllm:num_requests_running{model_name=\"tiny\",engine=\"1\"} 5\n"), 1);
  EXPECT_EQ(count("vllm:time_to_first_token_seconds_count{model_name=\"tiny\",engine=\"1\"} 0\n"), 1);
  EXPECT_EQ(count("# TYPE vllm:num_requests_running gauge\n"), 1);
  EXPECT_EQ(count("# TYPE vllm:time_to_first_token_seconds histogram\n"), 1);
  EXPECT_EQ(count("# HELP vllm:time_to_first_token_seconds "), 1);
  EXPECT_EQ(count("# TYPE http_requests_total counter\n"), 1);

  const Json load = Get("/load").BodyJson();
  EXPECT_EQ(load["num_requests_running"], 5);
  EXPECT_EQ(load["num_requests_waiting"], 2);
  EXPECT_EQ(load["waiting_prompt_tokens"], 4100);
  EXPECT_EQ(load["kv_cache_usage"], 0.25);
  EXPECT_EQ(load["estimated_wait_seconds"], 7);
  engine_.SetSubmitStatus(ResourceExhausted("full"));
  EXPECT_EQ(Post("/v1/completions", Completion()).Header("Retry-After"), "7");
}

TEST_F(ServerTest, MetricsTellOfTheRanks) {
  RankMetrics ranks;
  ranks.engines.resize(2);
  ranks.engines[1].expert_tokens = {{}, {3, 4}};
  ranks.engines[1].ep_bytes = 77;
  ranks.expert_load_imbalance = {0, 1.25};
  options_.rank_metrics = [&] { return ranks; };
  engine_.SetMoreReplicas({EngineStats{}});
  Start();
  std::string page = Get("/metrics").body;
  for (const char* line :
       {"penstock:expert_tokens_total{model_name=\"tiny\",engine=\"1\",layer=\"1\",expert=\"1\"} 4\n",
        "penstock:expert_load_imbalance{model_name=\"tiny\",layer=\"1\"} 1.25\n",
        "penstock:comm_sent_bytes_total{model_name=\"tiny\",engine=\"1\",group=\"ep\"} 77\n",
        "penstock:comm_sent_bytes_total{model_name=\"tiny\",engine=\"0\",group=\"handover\"} 0\n"}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << "not in\n" << page;
  }
  EXPECT_EQ(page.find("layer=\"0\""), std::string::npos) << "a layer without experts";
  ranks.engines[1].expert_tokens.assign(2, std::vector<uint64_t>(kMaxExpertSeries / 2 + 1, 1));
  page = Get("/metrics").body;
  EXPECT_EQ(page.find("penstock:expert_tokens_total"), std::string::npos) << "too many series";
  EXPECT_NE(page.find("penstock:expert_load_imbalance"), std::string::npos);
}

TEST_F(ServerTest, AbortRequestsEndsThemByEitherId) {
  Start();
  engine_.SetScript({.hang = true});
  for (const char* id : {"mine", "cmpl-mine"}) {
    TestClient client(port());
    client.SendRaw(
        TestClient::Format("POST", "/v1/completions", Completion({{"request_id", "mine"}}).dump()));
    ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
    EXPECT_EQ(Post("/abort_requests", {{"request_ids", {"unknown", id}}}).status, 200);
    const ClientResponse response = client.Receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.BodyJson()["id"], "cmpl-mine");
    EXPECT_EQ(response.BodyJson()["choices"][0]["finish_reason"], "abort");
  }
  ExpectError(Post("/abort_requests", Json::object()), 400, "request_ids");
}

TEST_F(ServerTest, RequestIdComesFromBodyOrHeader) {
  Start();
  TestClient client(port());
  EXPECT_EQ(client.Call("POST", "/v1/completions", Completion().dump(), "X-Request-Id: from-header\r\n")
                .BodyJson()["id"],
            "cmpl-from-header");
  const std::string body = Completion({{"request_id", "from-body"}}).dump();
  EXPECT_EQ(client.Call("POST", "/v1/completions", body, "X-Request-Id: from-header\r\n").BodyJson()["id"],
            "cmpl-from-body");
  EXPECT_EQ(client.Call("GET", "/health").Header("X-Request-Id"), "") << "echoed only with the option";
}

// ---- Keys, CORS, draining
// ------------------------------------------------------------------------------------------

TEST_F(ServerTest, ApiKeysGuardAllButHealth) {
  options_.router.api_keys = {"first-key", "second"};
  Start();
  for (const char* path : {"/health", "/ready", "/ping", "/version"})
    EXPECT_EQ(Get(path).status, 200) << path;
  for (const char* path : {"/v1/models", "/metrics", "/server_info", "/load", "/nowhere"})
    ExpectError(Get(path), 401);
  ExpectError(Post("/tokenize", {{"prompt", "a"}}), 401);
  ExpectError(Post("/v1/completions", Completion()), 401);
  TestClient client(port());
  EXPECT_EQ(client.Call("GET", "/v1/models", "", "Authorization: Bearer second\r\n").status, 200);
  EXPECT_EQ(client.Call("GET", "/v1/models", "", "authorization: bearer first-key\r\n").status, 200);
  EXPECT_EQ(client.Call("GET", "/v1/models", "", "X-Api-Key: first-key\r\n").status, 200);
  for (const char* wrong : {"", "x", "secon", "second2", "first-kez", "Bearer second"}) {
    EXPECT_EQ(client.Call("GET", "/v1/models", "", fmt::format("Authorization: Bearer {}\r\n", wrong)).status,
              401)
        << wrong;
  }
  EXPECT_EQ(client.Call("GET", "/v1/models", "", "Authorization: Basic second\r\n").status, 401);
}

TEST_F(ServerTest, CorsAnswersAllowedOriginsOnly) {
  options_.router.cors.allowed_origins = {"https://good.example"};
  options_.router.api_keys = {"key"};
  options_.router.echo_request_id = true;
  Start();
  TestClient client(port());
  ClientResponse response =
      client.Call("OPTIONS", "/v1/chat/completions", "",
                  "Origin: https://good.example\r\nAccess-Control-Request-Method: POST\r\n"
                  "Access-Control-Request-Headers: authorization\r\n");
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.Header("Access-Control-Allow-Origin"), "https://good.example");
  EXPECT_EQ(response.Header("Access-Control-Allow-Headers"), "authorization");
  response = client.Call("GET", "/health", "", "Origin: https://good.example\r\nX-Request-Id: r1\r\n");
  EXPECT_EQ(response.Header("Access-Control-Allow-Origin"), "https://good.example");
  EXPECT_EQ(response.Header("X-Request-Id"), "r1");
  response = client.Call("GET", "/health", "", "Origin: https://bad.example\r\n");
  EXPECT_EQ(response.Header("Access-Control-Allow-Origin"), "");
}

TEST_F(ServerTest, DrainRefusesNewRequestsAndFinishesOpenOnes) {
  Start();
  engine_.SetScript({.text = std::string(30, 'x'), .token_us = 5'000});
  TestClient open(port());
  open.SendRaw(TestClient::Format("POST", "/v1/completions", Completion({{"max_tokens", 30}}).dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
  EXPECT_FALSE(server_->WaitIdle(0));
  server_->BeginDrain();
  ASSERT_TRUE(Eventually([&] { return Get("/ready").status == 503; }));
  EXPECT_EQ(Get("/health").status, 200) << "alive until it ends";
  EXPECT_EQ(Get("/metrics").status, 200);
  const ClientResponse refused = Post("/v1/completions", Completion());
  ExpectError(refused, 503);
  EXPECT_NE(refused.Header("Retry-After"), "");
  EXPECT_EQ(refused.Header("Connection"), "close");
  const ClientResponse response = open.Receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.BodyJson()["usage"]["completion_tokens"], 30);
  EXPECT_TRUE(server_->WaitIdle(5'000'000));
}

TEST_F(ServerTest, StopAbortsWhatIsOpen) {
  Start();
  engine_.SetScript({.hang = true});
  TestClient client(port());
  client.SendRaw(TestClient::Format("POST", "/v1/completions", Completion().dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
  server_->Stop();
  EXPECT_TRUE(Eventually([&] { return engine_.num_aborted() == 1; }));
  EXPECT_TRUE(client.ClosedWithin(5000));
}

TEST_F(ServerTest, AddressInUseNamesIt) {
  Start();
  options_.http.port = port();
  const Result<std::unique_ptr<Server>> second = Server::Start(options_, engine_, tokenizer_, &template_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(fmt::format("127.0.0.1:{}", port())), std::string::npos)
      << second.status().message();
}

}  // namespace
}  // namespace penstock
