// For tests: a server over a FakeEngine, on a free port.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/log.h"
#include "server/server.h"
#include "server/testing/fake_engine.h"
#include "server/testing/test_client.h"

namespace penstock {

class ServerFixture : public testing::Test {
 protected:
  ServerFixture() {
    SetLogLevel(LogLevel::kError);
    options_.http.host = "127.0.0.1";
    options_.http.port = 0;
    options_.http.tick_us = 5'000;
    options_.served_model_names = {"tiny", "org/tiny"};
    options_.model_root = "/models/tiny";
  }
  ~ServerFixture() override {
    if (server_) server_->Stop();
  }

  // Options are set before. `with_template`: chat endpoints work.
  void Start(bool with_template = true) {
    Result<std::unique_ptr<Server>> server =
        Server::Start(options_, engine_, tokenizer_, with_template ? &template_ : nullptr);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }
  int port() const { return server_->port(); }
  ClientResponse Post(std::string_view path, const Json& body) { return TestClient(port()).Post(path, body); }
  ClientResponse PostText(std::string_view path, std::string_view body) {
    return TestClient(port()).Call("POST", path, body);
  }
  ClientResponse Get(std::string_view path) { return TestClient(port()).Call("GET", path); }

  // `response` is an error of this status in OpenAI's shape, about `param` (any if empty).
  static void ExpectError(const ClientResponse& response, int status, const std::string& param = "") {
    EXPECT_EQ(response.status, status) << response.body;
    const Json body = response.BodyJson();
    ASSERT_TRUE(body.contains("error")) << response.body;
    const Json& error = body["error"];
    EXPECT_FALSE(error.value("message", "").empty()) << response.body;
    EXPECT_FALSE(error.value("type", "").empty()) << response.body;
    EXPECT_EQ(error.value("code", 0), status) << response.body;
    ASSERT_TRUE(error.contains("param")) << response.body;
    if (!param.empty()) {
      EXPECT_EQ(error["param"], param) << response.body;
    }
  }
  void ExpectAlive() { EXPECT_EQ(Post("/v1/completions", {{"prompt", "x"}}).status, 200); }

  static Json Chat(Json more = Json::object()) {
    Json body = {{"model", "tiny"}, {"messages", Json::array({{{"role", "user"}, {"content", "hi"}}})}};
    body.update(more);
    return body;
  }
  static Json Completion(Json more = Json::object()) {
    Json body = {{"model", "tiny"}, {"prompt", "abc"}};
    body.update(more);
    return body;
  }

  FakeEngine engine_;
  ByteTokenizer tokenizer_;
  PlainChatTemplate template_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
};

}  // namespace penstock
