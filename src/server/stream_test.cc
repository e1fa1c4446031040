// Streamed answers, clients that leave, and clients that do not read.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/testing/server_fixture.h"

namespace penstock {
namespace {

class StreamTest : public ServerFixture {
 protected:
  // The text of a choice, joined from its deltas.
  static std::string Text(const std::vector<Json>& events, int index = 0) {
    std::string text;
    for (const Json& event : events) {
      for (const Json& choice : event["choices"]) {
        if (choice["index"] != index) continue;
        if (choice.contains("delta"))
          text += choice["delta"].value("content", "");
        else
          text += choice["text"].get<std::string>();
      }
    }
    return text;
  }
};

TEST_F(StreamTest, ChatStream) {
  Start();
  engine_.SetScript({.text = "Hello", .token_us = 2'000});
  const ClientResponse response = Post("/v1/chat/completions", Chat({{"stream", true}}));
  ASSERT_EQ(response.status, 200);
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.Header("Content-Type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(response.Header("Cache-Control"), "no-cache");
  EXPECT_EQ(response.Header("X-Accel-Buffering"), "no");
  EXPECT_TRUE(response.Done());
  const std::vector<Json> events = response.Events();
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[0]["choices"][0]["delta"]["content"], "");
  EXPECT_TRUE(events[0]["choices"][0]["finish_reason"].is_null());
  EXPECT_FALSE(events[1]["choices"][0]["delta"].contains("role"));
  EXPECT_EQ(Text(events), "Hello");
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "stop");
  for (const Json& event : events) {
    EXPECT_EQ(event["id"], events[0]["id"]);
    EXPECT_EQ(event["created"], events[0]["created"]);
    EXPECT_FALSE(event.contains("usage"));
  }
}

// Clients stop reading at [DONE] (AISBench, openai): what had not come by then would cost them their
// connection.
TEST_F(StreamTest, TheEndOfTheBodyComesWithDone) {
  Start();
  engine_.SetScript({.text = "Hi"});
  const std::string body = Chat({{"stream", true}}).dump();
  for (int i = 0; i < 100; ++i) {
    TestClient client(port());
    client.SendRaw(TestClient::Format("POST", "/v1/chat/completions", body));
    const std::string answer = client.ReadUntil("data: [DONE]");
    ASSERT_TRUE(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n")) << "request " << i << ": " << answer;
  }
}

TEST_F(StreamTest, NothingIsSentBeforeTheFirstToken) {
  options_.sse_keep_alive_interval_seconds = 0;
  Start();
  engine_.SetScript({.hang = true});
  TestClient client(port());
  client.SendRaw(TestClient::Format("POST", "/v1/chat/completions", Chat({{"stream", true}}).dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
  EXPECT_FALSE(client.ClosedWithin(30));
  EXPECT_EQ(client.ReadUntil(""), "") << "load generators take the first event for the first token";
}

TEST_F(StreamTest, KeepAliveCommentsWhileWaiting) {
  options_.sse_keep_alive_interval_seconds = 0.02;
  Start();
  engine_.SetScript({.hang = true});
  TestClient client(port());
  client.SendRaw(TestClient::Format("POST", "/v1/chat/completions", Chat({{"stream", true}}).dump()));
  const std::string received = client.ReadUntil(": keep-alive\n\n\r\ne\r\n: keep-alive\n\n");
  EXPECT_NE(received.find("text/event-stream"), std::string::npos);
  EXPECT_EQ(received.find("data:"), std::string::npos);
}

TEST_F(StreamTest, UsageComesLastWithoutChoices) {
  Start();
  engine_.SetScript({.text = "Hello"});
  const Json body = Chat({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  const std::vector<Json> events = Post("/v1/chat/completions", body).Events();
  EXPECT_EQ(events.back()["choices"].size(), 0u);
  EXPECT_EQ(events.back()["usage"]["prompt_tokens"], 18);
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 5);
  EXPECT_EQ(events.back()["usage"]["total_tokens"], 23);
  EXPECT_FALSE(events[0].contains("usage"));
}

TEST_F(StreamTest, ContinuousUsageCountsUp) {
  Start();
  engine_.SetScript({.text = "Hello", .token_us = 2'000});
  const Json options = {{"include_usage", true}, {"continuous_usage_stats", true}};
  const std::vector<Json> events =
      Post("/v1/chat/completions", Chat({{"stream", true}, {"stream_options", options}})).Events();
  int64_t last = 0;
  for (const Json& event : events) {
    ASSERT_TRUE(event.contains("usage"));
    EXPECT_GE(event["usage"]["completion_tokens"].get<int64_t>(), last);
    last = event["usage"]["completion_tokens"];
  }
  EXPECT_EQ(events[0]["usage"]["completion_tokens"], 0);
  EXPECT_EQ(last, 5);
}

TEST_F(StreamTest, ProgressEventsHaveLlamaCppsShape) {
  Start();
  engine_.SetScript({.text = "Hello"});
  const ClientResponse response =
      Post("/v1/chat/completions", Chat({{"stream", true}, {"return_progress", true}}));
  EXPECT_TRUE(response.Done());
  const std::vector<Json> events = response.Events();
  std::vector<Json> progress;
  for (const Json& event : events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    if (!event.contains("prompt_progress")) continue;
    progress.push_back(event["prompt_progress"]);
    EXPECT_EQ(event["choices"][0], Json({{"index", 0},
                                         {"delta", {{"role", "assistant"}, {"content", nullptr}}},
                                         {"logprobs", nullptr},
                                         {"finish_reason", nullptr}}));
  }
  const auto entry = [](int processed, int time_ms) {
    return Json{{"total", 18}, {"cache", 3}, {"processed", processed}, {"time_ms", time_ms}};
  };
  EXPECT_EQ(progress, (std::vector<Json>{entry(3, 0), entry(11, 8), entry(18, 8)}));
  EXPECT_TRUE(events[0].contains("prompt_progress"));
  EXPECT_EQ(events[3]["choices"][0]["delta"]["role"], "assistant");  // the answer itself begins as always
  EXPECT_EQ(events[3]["choices"][0]["delta"]["content"], "");
  std::string text;
  for (size_t i = 4; i < events.size(); ++i) text += events[i]["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(text, "Hello");
  EXPECT_FALSE(engine_.submitted().empty() || !engine_.submitted()[0].report_progress);
}

TEST_F(StreamTest, MetricsComeAtTheEndWhereAskedFor) {
  Start();
  const auto last_event = [&](Json more) {
    more["stream"] = true;
    return Post("/v1/chat/completions", Chat(more)).Events().back();
  };
  EXPECT_FALSE(last_event(Json::object()).contains("metrics"));
  const Json alone = last_event({{"return_metrics", true}});
  EXPECT_EQ(alone["metrics"]["queue_time_ms"], 2.0);
  EXPECT_FALSE(alone.contains("usage"));
  const Json both = last_event({{"return_metrics", true}, {"stream_options", {{"include_usage", true}}}});
  EXPECT_EQ(both["metrics"]["prefill_time_ms"], 7.0);
  EXPECT_EQ(both["usage"]["prompt_tokens"], 18);
}

TEST_F(StreamTest, StreamAndWholeAnswerSayTheSame) {
  Start();
  engine_.SetScript({.text = "The same, \"quoted\"\n\t\\ and tabbed"});
  for (const Json& more : {Json{{"logprobs", 2}}, Json{{"echo", true}, {"logprobs", 1}}, Json{{"n", 2}}}) {
    Json body = Completion({{"max_tokens", 100}, {"return_token_ids", true}});
    body.update(more);
    const Json whole = Post("/v1/completions", body).BodyJson();
    body["stream"] = true;
    const std::vector<Json> events = Post("/v1/completions", body).Events();
    for (const Json& choice : whole["choices"]) {
      const int index = choice["index"];
      EXPECT_EQ(Text(events, index), choice["text"]) << more;
      Json tokens = Json::array(), offsets = Json::array(), token_ids = Json::array(), top = Json::array();
      for (const Json& event : events) {
        for (const Json& part : event["choices"]) {
          if (part["index"] != index) continue;
          for (const Json& id : part["token_ids"]) token_ids.push_back(id);
          if (part["logprobs"].is_null()) continue;
          for (const Json& token : part["logprobs"]["tokens"]) tokens.push_back(token);
          for (const Json& offset : part["logprobs"]["text_offset"]) offsets.push_back(offset);
          for (const Json& entry : part["logprobs"]["top_logprobs"]) top.push_back(entry);
        }
      }
      EXPECT_EQ(token_ids, choice["token_ids"]) << more;
      if (choice["logprobs"].is_null()) continue;
      EXPECT_EQ(tokens, choice["logprobs"]["tokens"]) << more;
      EXPECT_EQ(offsets, choice["logprobs"]["text_offset"]) << more;
      EXPECT_EQ(top, choice["logprobs"]["top_logprobs"]) << more;
    }
  }
}

TEST_F(StreamTest, ChoicesOfNAreInterleavedByIndex) {
  Start();
  engine_.SetScript([](const Request& request) {
    return FakeEngine::Script{.text = std::string(4, static_cast<char>('a' + *request.sampling.seed)),
                              .token_us = 1'000};
  });
  const std::vector<Json> events =
      Post("/v1/chat/completions", Chat({{"stream", true}, {"n", 2}, {"seed", 0}})).Events();
  EXPECT_EQ(Text(events, 0), "aaaa");
  EXPECT_EQ(Text(events, 1), "bbbb");
  int roles = 0, finishes = 0;
  for (const Json& event : events) {
    roles += event["choices"][0]["delta"].contains("role");
    finishes += !event["choices"][0]["finish_reason"].is_null();
  }
  EXPECT_EQ(roles, 2);
  EXPECT_EQ(finishes, 2);
}

TEST_F(StreamTest, ErrorBeforeTheFirstTokenIsAnHttpError) {
  Start();
  engine_.SetScript({.finish = FinishReason::kError, .error = Unavailable("a stage died")});
  ExpectError(Post("/v1/chat/completions", Chat({{"stream", true}})), 503);
}

TEST_F(StreamTest, ErrorInMidStreamIsAnEvent) {
  Start();
  engine_.SetScript({.finish = FinishReason::kError,
                     .error = Internal("a stage died"),
                     .token_us = 2'000,
                     .error_after = 3});
  const ClientResponse response = Post("/v1/chat/completions", Chat({{"stream", true}}));
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.Done());
  const std::vector<Json> events = response.Events();
  EXPECT_EQ(events.back()["error"]["message"], "a stage died");
  EXPECT_EQ(events.back()["error"]["code"], 500);
  EXPECT_EQ(Text({events.begin(), events.end() - 1}), "Hel");
}

TEST_F(StreamTest, Http10GetsACloseDelimitedStream) {
  Start();
  TestClient client(port());
  const std::string body = Chat({{"stream", true}}).dump();
  client.SendRaw(
      fmt::format("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  const ClientResponse response = client.Receive();
  EXPECT_EQ(response.Header("Transfer-Encoding"), "");
  EXPECT_EQ(Text(response.Events()), "Hello world");
}

// ---- Clients that leave
// --------------------------------------------------------------------------------------------

TEST_F(StreamTest, DisconnectWhileWaitingAborts) {
  Start();
  engine_.SetScript({.hang = true});
  for (const bool stream : {false, true}) {
    const int before = engine_.num_aborted();
    TestClient client(port());
    client.SendRaw(
        TestClient::Format("POST", "/v1/chat/completions", Chat({{"stream", stream}, {"n", 2}}).dump()));
    ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 2; }));
    if (stream)
      client.Reset();
    else
      client.Close();
    EXPECT_TRUE(Eventually([&] { return engine_.num_aborted() == before + 2; }));
  }
  EXPECT_TRUE(server_->WaitIdle(5'000'000));
}

TEST_F(StreamTest, DisconnectWhileStreamingAborts) {
  Start();
  engine_.SetScript({.text = std::string(2000, 'x'), .token_us = 2'000});
  TestClient client(port());
  client.SendRaw(TestClient::Format("POST", "/v1/chat/completions", Chat({{"stream", true}}).dump()));
  client.ReadUntil("\"content\":\"x");
  client.Close();
  EXPECT_TRUE(Eventually([&] { return engine_.num_aborted() == 1; }));
  engine_.SetScript(FakeEngine::Script{});
  ExpectAlive();
}

TEST_F(StreamTest, DisconnectIsSeenBehindPipelinedRequests) {
  Start();
  engine_.SetScript({.hang = true});
  TestClient client(port());
  client.SendRaw(TestClient::Format("POST", "/v1/completions", Completion().dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
  client.SendRaw(TestClient::Format("POST", "/v1/completions",
                                    Completion({{"prompt", std::string(100'000, 'x')}}).dump()));
  client.Close();
  EXPECT_TRUE(Eventually([&] { return engine_.num_aborted() == 1; }));
}

TEST_F(StreamTest, SlowReaderIsDroppedAndBlocksNobody) {
  options_.http.write_stall_timeout_us = 200'000;
  options_.http.socket_send_buffer_bytes = 4096;
  options_.http.high_water_bytes = 8192;
  engine_.mutable_limits().max_model_len = 200'000;
  Start();
  // So slow that it still runs when the client is dropped: else there is nothing to abort.
  engine_.SetScript({.text = std::string(150'000, 'x'), .token_us = 100});
  const Json body = Chat({{"stream", true}, {"logprobs", true}, {"top_logprobs", 20}});
  TestClient slow(port(), /*receive_buffer=*/4096);
  slow.SendRaw(TestClient::Format("POST", "/v1/chat/completions", body.dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.num_live() == 1; }));
  engine_.SetScript(FakeEngine::Script{});
  ExpectAlive();
  EXPECT_TRUE(Eventually([&] { return engine_.num_aborted() == 1; }));
  EXPECT_TRUE(server_->WaitIdle(5'000'000));
  EXPECT_TRUE(slow.ClosedWithin(5000));
}

TEST_F(StreamTest, ReaderThatCatchesUpGetsAllOfIt) {
  options_.http.socket_send_buffer_bytes = 16'384;
  options_.http.high_water_bytes = 8192;
  engine_.mutable_limits().max_model_len = 30'000;
  Start();
  engine_.SetScript({.text = std::string(20'000, 'y')});
  TestClient client(port(), /*receive_buffer=*/32'768);
  const Json options = {{"include_usage", true}};
  client.SendRaw(TestClient::Format("POST", "/v1/chat/completions",
                                    Chat({{"stream", true}, {"stream_options", options}}).dump()));
  ASSERT_TRUE(Eventually([&] { return engine_.submitted().size() == 1 && engine_.num_live() == 0; }));
  const ClientResponse response = client.Receive();
  EXPECT_TRUE(response.Done());
  const std::vector<Json> events = response.Events();
  EXPECT_TRUE(Text(events) == std::string(20'000, 'y')) << Text(events).size();
  EXPECT_LT(events.size(), 5'000u) << "deltas are joined while the client is slow";
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 20'000);
}

TEST_F(StreamTest, HundredConnectionsAtOnce) {
  Start();
  engine_.SetScript({.text = "Hello world", .token_us = 1'000});
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->SendRaw(
        TestClient::Format("POST", "/v1/chat/completions", Chat({{"stream", i % 2 == 0}}).dump()));
  }
  for (int i = 0; i < 100; ++i) {
    const ClientResponse response = clients[i]->Receive();
    ASSERT_EQ(response.status, 200);
    if (i % 2 == 0)
      EXPECT_EQ(Text(response.Events()), "Hello world");
    else
      EXPECT_EQ(response.BodyJson()["choices"][0]["message"]["content"], "Hello world");
  }
  EXPECT_EQ(engine_.submitted().size(), 100u);
}

}  // namespace
}  // namespace penstock
