// HttpServer: HTTP/1.1 on one I/O thread. It reads requests within limits, hands them to one handler, and
// carries the answer to the client; it notices at once when a client goes away.
//
//   accept ─▶ read head ─▶ read body ─▶ handler ─▶ (watch for disconnect) ─▶ answer written ─▶ next request
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "server/http.h"

namespace penstock {

struct HttpServerOptions {
  std::string host = "0.0.0.0";
  int port = 8000;  // 0: a free one

  size_t max_header_bytes = 64 << 10;
  size_t max_headers = 256;
  size_t max_body_bytes = 32 << 20;
  size_t max_total_body_bytes = size_t{2} << 30;  // of all requests that are open; further ones get 503
  size_t max_connections = 8192;                  // further ones are closed at once

  int64_t header_timeout_us = 20'000'000;       // from the first byte of a request to the end of its head
  int64_t body_stall_timeout_us = 30'000'000;   // without a byte of the body
  int64_t body_timeout_us = 600'000'000;        // for the whole body
  int64_t idle_timeout_us = 75'000'000;         // between requests of one connection
  int64_t write_stall_timeout_us = 30'000'000;  // without the client taking a byte: it is dropped
  int64_t tick_us = 100'000;                    // how often the timeouts are looked at

  size_t high_water_bytes = 64 << 10;        // see ResponseWriter::congested
  int socket_send_buffer_bytes = 256 << 10;  // else the kernel hides slow readers
};

class HttpServer {
 public:
  // Binds, listens and starts the I/O thread. kUnavailable, naming host and port, if the address cannot be
  // had.
  static Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options, HttpHandler handler);
  ~HttpServer();  // Stop()

  int port() const;

  // Runs `task` on the I/O thread; drops it once stopped. Any thread.
  void Post(std::function<void()> task);

  // From now on every answer closes its connection. Any thread.
  void CloseAfterAnswers();

  // Closes the listener and every connection (OnGone is called for open exchanges), and ends the I/O thread.
  // Not from the I/O thread.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
