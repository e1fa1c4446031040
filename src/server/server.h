// Server: the OpenAI-compatible HTTP API over an Engine. docs/api.md lists endpoints and fields.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/engine.h"
#include "server/answer.h"
#include "server/http_server.h"
#include "server/rank_metrics.h"
#include "server/router.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace penstock {

struct ServerOptions {
  // host, port, timeouts and limits of HTTP. max_body_bytes 0: derived from the model's context length.
  HttpServerOptions http = {.max_body_bytes = 0};
  RouterOptions router;  // API keys, CORS, X-Request-Id, access log
  AnswerOptions answer;

  std::vector<std::string> served_model_names;  // at least one; the first is the one that metrics name
  std::string model_root;                       // path of the model, for /v1/models
  std::string version = "0.1.0";

  SamplingParams default_sampling;  // from generation_config.json
  std::optional<int32_t>
      default_max_tokens;       // from generation_config.json: bounds answers that ask for no number
  bool allow_priority = false;  // the scheduler's policy is "priority"
  size_t max_stop_strings = 4;

  int num_workers = 2;                          // threads that parse, render and tokenise
  size_t worker_queue = 1024;                   // requests that may wait for them
  double sse_keep_alive_interval_seconds = 15;  // 0: no keep-alive comments

  // For /metrics; any thread. Absent: none.
  std::function<RankMetrics()> rank_metrics;

  // Keeps what /stop_profile answers with, if the operator wants that (--trace); worker thread.
  std::function<void(const std::string& trace)> save_trace;

  Json server_info = Json::object();   // resolved configuration, for /server_info
  std::optional<Json> tokenizer_info;  // tokenizer_config.json, for /tokenizer_info; absent: no such endpoint
};

class Server {
 public:
  // Listens and answers from now on. `engine`, `tokenizer` and `chat_template` must outlive the server, and
  // the engine may call its sinks even after. `chat_template` nullptr: chat endpoints answer 400.
  // kUnavailable, naming host and port, if the address cannot be had.
  static Result<std::unique_ptr<Server>> Start(ServerOptions options, Engine& engine,
                                               const Tokenizer& tokenizer, const ChatTemplate* chat_template);
  ~Server();  // Stop()

  int port() const;

  // From now on new requests for text are answered 503 with Retry-After, and /ready 503; open ones go on.
  void BeginDrain();
  // True once no request for text is open; false after `timeout_us`.
  bool WaitIdle(int64_t timeout_us) const;
  // Closes all connections, aborting what is open, and ends the threads.
  void Stop();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
