// For tests: a blocking HTTP client on plain sockets, so that the server is driven by bytes that we choose.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace penstock {

struct ClientResponse {
  int status = 0;  // 0: the connection ended before a head came
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool complete = false;  // the body ended as the head said

  std::string Header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key.size() == name.size() && strcasecmp(key.c_str(), std::string(name).c_str()) == 0) return value;
    }
    return "";
  }
  Json BodyJson() const {
    Result<Json> json = ParseJson(body, "answer");
    EXPECT_TRUE(json.ok()) << body;
    return json.ok() ? *json : Json::object();
  }
  // The data lines of a stream, without "[DONE]"; comments are left out.
  std::vector<Json> Events() const {
    std::vector<Json> events;
    for (size_t begin = 0; begin < body.size();) {
      const size_t end = body.find("\n\n", begin);
      EXPECT_NE(end, std::string::npos) << body;
      if (end == std::string::npos) break;
      const std::string event = body.substr(begin, end - begin);
      begin = end + 2;
      if (event.starts_with(":")) continue;
      EXPECT_TRUE(event.starts_with("data: ")) << event;
      if (event == "data: [DONE]") continue;
      Result<Json> json = ParseJson(event.substr(6), "event");
      EXPECT_TRUE(json.ok()) << event;
      if (json.ok()) events.push_back(*json);
    }
    return events;
  }
  bool Done() const { return body.ends_with("data: [DONE]\n\n"); }
};

class TestClient {
 public:
  explicit TestClient(int port, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~TestClient() { Close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  // Closes with a reset instead of an orderly end.
  void Reset() {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    Close();
  }

  // False if the server has closed.
  bool SendRaw(std::string_view data) {
    while (!data.empty()) {
      const ssize_t size = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (size <= 0) return false;
      data.remove_prefix(static_cast<size_t>(size));
    }
    return true;
  }

  static std::string Format(std::string_view method, std::string_view path, std::string_view body = {},
                            std::string_view headers = {}) {
    std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: test\r\n{}", method, path, headers);
    if (!body.empty()) text += fmt::format("Content-Length: {}\r\n", body.size());
    return text + "\r\n" + std::string(body);
  }

  ClientResponse Call(std::string_view method, std::string_view path, std::string_view body = {},
                      std::string_view headers = {}) {
    SendRaw(Format(method, path, body, headers));
    return Receive(method == "HEAD");
  }
  ClientResponse Post(std::string_view path, const Json& body) { return Call("POST", path, body.dump()); }

  // One response, without what 100-continue precedes it with.
  ClientResponse Receive(bool head_only = false) {
    ClientResponse response = ReceiveHead();
    while (response.status == 100) response = ReceiveHead();
    if (response.status == 0 || head_only || response.status == 204) {
      response.complete = response.status != 0;
    } else if (response.Header("Transfer-Encoding") == "chunked") {
      ReceiveChunked(&response);
    } else if (const std::string length = response.Header("Content-Length"); !length.empty()) {
      const size_t size = std::stoul(length);
      while (buffer_.size() < size && Fill()) {
      }
      response.complete = buffer_.size() >= size;
      response.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else {
      while (Fill()) {
      }
      response.body = std::exchange(buffer_, {});
      response.complete = true;
    }
    return response;
  }

  // Reads until `text` has come, or the connection ends. What has been read.
  std::string ReadUntil(std::string_view text) {
    while (buffer_.find(text) == std::string::npos && Fill()) {
    }
    return buffer_;
  }
  // Whether the server closes (or resets) the connection within `timeout_ms`, reading away what comes.
  bool ClosedWithin(int timeout_ms) {
    while (Fill(timeout_ms)) {
    }
    return ended_;
  }

 private:
  bool Fill(int timeout_ms = 10'000) {
    pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&poll_fd, 1, timeout_ms) != 1) return false;
    char data[16384];
    const ssize_t size = recv(fd_, data, sizeof(data), 0);
    if (size <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(data, static_cast<size_t>(size));
    return true;
  }

  ClientResponse ReceiveHead() {
    ClientResponse response;
    size_t end;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return response;
    }
    const std::string head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    EXPECT_TRUE(head.starts_with("HTTP/1.1 ")) << head;
    response.status = std::stoi(head.substr(9, 3));
    for (size_t begin = head.find("\r\n") + 2; begin < head.size();) {
      const size_t line_end = head.find("\r\n", begin);
      const std::string line = head.substr(begin, line_end - begin);
      const size_t colon = line.find(": ");
      response.headers.emplace_back(line.substr(0, colon), line.substr(colon + 2));
      begin = line_end + 2;
    }
    return response;
  }

  void ReceiveChunked(ClientResponse* response) {
    for (;;) {
      size_t line_end;
      while ((line_end = buffer_.find("\r\n")) == std::string::npos) {
        if (!Fill()) return;
      }
      const size_t size = std::stoul(buffer_.substr(0, line_end), nullptr, 16);
      while (buffer_.size() < line_end + 2 + size + 2) {
        if (!Fill()) return;
      }
      response->body += buffer_.substr(line_end + 2, size);
      buffer_.erase(0, line_end + 2 + size + 2);
      if (size == 0) break;
    }
    response->complete = true;
  }

  int fd_ = -1;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace penstock
