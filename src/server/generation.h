// GenerationService: from an HTTP request for text to its answer. It owns what is between the I/O thread, the
// worker pool and the engine's thread, and what happens when the client goes away.
//
//   I/O thread ── body ──▶ worker: parse, render, tokenise, Engine::Submit ×(prompts · n)
//   engine thread ── outputs ──▶ mailbox ──▶ I/O thread: JSON, SSE
//   I/O thread: client gone ──▶ Engine::Abort
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/worker_pool.h"
#include "engine/engine.h"
#include "server/answer.h"
#include "server/http.h"
#include "server/request_parser.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace penstock {

struct GenerationOptions {
  RequestRules rules;
  AnswerOptions answer;
  int64_t sse_keep_alive_interval_us = 15'000'000;  // 0: none
  bool use_request_id_header = true;                // X-Request-Id names the request where the body does not
};

// Seconds after which a refused client may try again: the time that the prompts in the queue will take, by
// the cost model where it is known, else by the rate of late, else by the mean rate so far. Of several
// replicas the one that is the first to be done counts.
int EstimateRetryAfterSeconds(std::span<const EngineStats> replicas);

class GenerationService {
 public:
  // All are used until the service's last request is over.
  GenerationService(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                    WorkerPool& workers, GenerationOptions options);
  ~GenerationService();

  // I/O thread.
  void Handle(Endpoint endpoint, HttpRequest request, std::shared_ptr<ResponseWriter> response);
  // Ends the requests of these ids (as answered: "chatcmpl-…", or as the client set them). Unknown ids are
  // ignored.
  void Abort(std::span<const std::string> ids);
  // HTTP requests that are not answered yet.
  int num_open() const;

 private:
  struct Core;
  class Job;
  std::shared_ptr<Core> core_;
};

}  // namespace penstock
