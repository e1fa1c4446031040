// HTTP itself: limits, timeouts, keep-alive, and what is not HTTP.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/log.h"
#include "server/testing/fake_engine.h"
#include "server/testing/test_client.h"

namespace penstock {
namespace {

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    SetLogLevel(LogLevel::kError);
    options_.host = "127.0.0.1";
    options_.port = 0;
    options_.tick_us = 5'000;
    options_.max_body_bytes = 1 << 20;
  }
  // Answers "METHOD path body".
  void Start() {
    Result<std::unique_ptr<HttpServer>> server =
        HttpServer::Start(options_, [this](HttpRequest request, std::shared_ptr<ResponseWriter> response) {
          ++num_requests_;
          if (request.path == "/held") {
            response->OnGone([this] { ++num_gone_; });
            held_ = std::move(response);
            return;
          }
          HttpResponse answer;
          answer.content_type = "text/plain";
          answer.body = fmt::format("{} {} {}", request.method, request.path, request.body);
          response->Send(std::move(answer));
        });
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }
  int port() const { return server_->port(); }

  HttpServerOptions options_;
  std::atomic<int> num_requests_{0}, num_gone_{0};
  std::shared_ptr<ResponseWriter> held_;  // I/O thread; written once in a test
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, KeepsConnectionsAlive) {
  Start();
  TestClient client(port());
  for (int i = 0; i < 3; ++i) {
    const ClientResponse response = client.Call("POST", fmt::format("/{}", i), "body");
    EXPECT_EQ(response.body, fmt::format("POST /{} body", i));
    EXPECT_EQ(response.Header("Connection"), "");
    EXPECT_NE(response.Header("Date"), "");
  }
  EXPECT_EQ(client.Call("GET", "/last", "", "Connection: close\r\n").Header("Connection"), "close");
  EXPECT_TRUE(client.ClosedWithin(5000));
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  Start();
  TestClient client(port());
  std::string text;
  for (int i = 0; i < 50; ++i)
    text += TestClient::Format("POST", fmt::format("/{}", i), std::string(i * 100 + 1, 'x'));
  client.SendRaw(text);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client.Receive().body, fmt::format("POST /{} {}", i, std::string(i * 100 + 1, 'x')));
  }
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  Start();
  TestClient client(port());
  const ClientResponse head = client.Call("HEAD", "/x");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.Header("Content-Length"), "8");
  EXPECT_EQ(client.Call("GET", "/y").body, "GET /y ");
}

TEST_F(HttpServerTest, ReadsChunkedBodies) {
  Start();
  TestClient client(port());
  client.SendRaw(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(client.Receive().body, "POST /c abcde");
}

TEST_F(HttpServerTest, Expect100Continue) {
  Start();
  TestClient client(port());
  client.SendRaw("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_NE(client.ReadUntil("\r\n\r\n").find("HTTP/1.1 100 Continue\r\n\r\n"), std::string::npos);
  client.SendRaw("ok");
  EXPECT_EQ(client.Receive().body, "POST /e ok");
  TestClient other(port());
  other.SendRaw("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: magic\r\n\r\n");
  EXPECT_EQ(other.Receive().status, 417);
}

TEST_F(HttpServerTest, LimitsOfHeaderAndBody) {
  Start();
  const std::pair<std::string, int> cases[] = {
      {"GET / HTTP/1.1\r\nX: " + std::string(100'000, 'a') + "\r\n\r\n", 431},
      {"GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n", 431},
      {[] {
         std::string text = "GET / HTTP/1.1\r\n";
         for (int i = 0; i < 300; ++i) text += fmt::format("X{}: 1\r\n", i);
         return text + "\r\n";
       }(),
       431},
      {"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + std::string(0x200000, 'x'), 413},
  };
  for (const auto& [text, status] : cases) {
    SCOPED_TRACE(text.substr(0, 60));
    TestClient client(port());
    client.SendRaw(text);
    const ClientResponse response = client.Receive();
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.BodyJson()["error"]["code"], status);
    EXPECT_EQ(response.Header("Connection"), "close");
  }
  EXPECT_EQ(num_requests_, 0);
  EXPECT_EQ(TestClient(port()).Call("POST", "/", std::string(1 << 20, 'x')).status, 200);
}

TEST_F(HttpServerTest, BodiesOfAllRequestsTogetherAreLimited) {
  options_.max_total_body_bytes = 300'000;
  Start();
  TestClient first(port());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(first.Call("POST", "/", std::string(200'000, 'x')).status, 200);
  TestClient holder(port());
  holder.SendRaw(TestClient::Format("POST", "/held", std::string(200'000, 'x')));
  ASSERT_TRUE(Eventually([&] { return num_requests_ == 4; }));
  EXPECT_EQ(first.Call("POST", "/", std::string(200'000, 'x')).status, 503);
  holder.Close();
  EXPECT_TRUE(Eventually(
      [&] { return TestClient(port()).Call("POST", "/", std::string(200'000, 'x')).status == 200; }));
}

TEST_F(HttpServerTest, WhatIsNotHttpIsRefused) {
  Start();
  for (const char* text :
       {"nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: empty\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03 TLS hello\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    SCOPED_TRACE(text);
    TestClient client(port());
    client.SendRaw(text);
    const ClientResponse response = client.Receive();
    EXPECT_TRUE(response.status == 400 || response.status == 413) << response.status;
    EXPECT_TRUE(client.ClosedWithin(5000));
  }
  EXPECT_EQ(num_requests_, 0);
  EXPECT_EQ(TestClient(port()).Call("GET", "/").status, 200);
}

TEST_F(HttpServerTest, SlowHeadersAndBodiesTimeOut) {
  options_.header_timeout_us = 50'000;
  options_.body_stall_timeout_us = 50'000;
  Start();
  for (const char* text : {"GET / HT", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"}) {
    TestClient client(port());
    client.SendRaw(text);
    EXPECT_EQ(client.Receive().status, 408) << text;
    EXPECT_TRUE(client.ClosedWithin(5000));
  }
  EXPECT_EQ(num_requests_, 0);
}

TEST_F(HttpServerTest, SlowBodyThatGoesOnIsReadToItsLimit) {
  options_.body_stall_timeout_us = 100'000;
  options_.body_timeout_us = 300'000;
  Start();
  TestClient client(port());
  client.SendRaw("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
  for (int i = 0; i < 40; ++i) {
    client.SendRaw("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(client.Receive().status, 408) << "the whole body has a limit too";
}

TEST_F(HttpServerTest, IdleConnectionsAreClosedQuietly) {
  options_.idle_timeout_us = 50'000;
  Start();
  TestClient client(port());
  EXPECT_EQ(client.Call("GET", "/").status, 200);
  EXPECT_EQ(client.ReadUntil("x"), "");
  EXPECT_TRUE(client.ClosedWithin(5000));
}

TEST_F(HttpServerTest, DisconnectCallsOnGoneOnce) {
  Start();
  {
    TestClient client(port());
    client.SendRaw(TestClient::Format("GET", "/held"));
    ASSERT_TRUE(Eventually([&] { return num_requests_ == 1; }));
    EXPECT_EQ(num_gone_, 0);
  }
  EXPECT_TRUE(Eventually([&] { return num_gone_ == 1; }));
  std::atomic<bool> done = false;
  server_->Post([&] {  // an answer to nobody
    held_->Send({});
    held_->Write("x");
    held_->EndStream("y");
    done = true;
  });
  EXPECT_TRUE(Eventually([&] { return done.load(); }));
  EXPECT_EQ(num_gone_, 1);
}

TEST_F(HttpServerTest, AnswersFromOtherThreadsAndAfterStop) {
  Start();
  TestClient client(port());
  client.SendRaw(TestClient::Format("GET", "/held"));
  ASSERT_TRUE(Eventually([&] { return num_requests_ == 1; }));
  const std::shared_ptr<ResponseWriter> response = held_;
  response->Post([response] {
    HttpResponse late;
    late.body = "late";
    response->Send(late);
  });
  EXPECT_EQ(client.Receive().body, "late");
  server_->Stop();
  response->Post([] { FAIL() << "posted after the end"; });
  server_.reset();
  response->Post([] { FAIL() << "posted after the end"; });
}

TEST_F(HttpServerTest, ConnectionsAreLimited) {
  options_.max_connections = 2;
  Start();
  TestClient first(port()), second(port());
  EXPECT_EQ(first.Call("GET", "/").status, 200);
  EXPECT_EQ(second.Call("GET", "/").status, 200);
  TestClient third(port());
  EXPECT_TRUE(third.ClosedWithin(5000));
  first.Close();
  EXPECT_TRUE(Eventually([&] { return TestClient(port()).Call("GET", "/").status == 200; }));
}

}  // namespace
}  // namespace penstock
