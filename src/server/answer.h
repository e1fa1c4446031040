// Answer: what a client gets for a request, in OpenAI's JSON, streamed or whole. Both are made of the same
// increments: a stream prints each, a whole answer prints their sum.
//
// Not thread-safe; lives on the I/O thread.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/request.h"
#include "server/generation_request.h"
#include "server/json_writer.h"
#include "server/logprobs_json.h"
#include "server/prompt_tokens.h"
#include "server/request_metrics.h"

namespace penstock {

struct AnswerOptions {
  bool prompt_tokens_details = false;  // usage.prompt_tokens_details.cached_tokens
  bool force_include_usage = false;    // as if each stream asked for usage, continuously
  bool per_request_metrics = false;    // "metrics", as if each request asked for it
};

// Appends the increment `more` to `sum`.
void MergeOutput(RequestOutput more, RequestOutput* sum);

// The parts that both endpoints share. Choice i is of prompt i / n.
class Answer {
 public:
  // `id` is the answer's, `created` in seconds since 1970.
  static std::unique_ptr<Answer> Make(std::string id, int64_t created, GenerationRequest request,
                                      std::vector<TokenizedPrompt> prompts, const Tokenizer& tokenizer,
                                      AnswerOptions options);
  Answer(std::string id, int64_t created, GenerationRequest request, std::vector<TokenizedPrompt> prompts,
         const Tokenizer& tokenizer, AnswerOptions options);
  virtual ~Answer() = default;

  int num_choices() const { return static_cast<int>(choices_.size()); }
  bool finished() const { return num_finished_ == num_choices(); }
  const GenerationRequest& request() const { return request_; }

  // Streaming: the events ("data: …\n\n") of an increment; of the end, when all choices have finished.
  void AppendChunk(int choice_idx, const RequestOutput& delta, std::string* events);
  void AppendEnd(std::string* events);

  // Not streaming: takes an increment; the JSON, when all choices have finished.
  void Add(int choice_idx, RequestOutput delta);
  std::string Whole();

 protected:
  struct Choice {
    bool started = false;    // something was printed
    int64_t text_chars = 0;  // printed so far
    int64_t num_tokens = 0;
    RequestMetrics metrics;
    RequestOutput sum;  // Add() only
  };

  // Events of an increment, without what comes at the end of a stream.
  virtual void AppendChunkEvents(int choice_idx, const RequestOutput& delta, std::string* events) = 0;
  // A choice of which there is nothing yet, for an event about its prompt.
  virtual void WriteEmptyChoice(int choice_idx, JsonWriter* json) const = 0;
  virtual std::string_view stream_object() const = 0;
  virtual std::string_view whole_object() const = 0;
  virtual void WriteChoice(int choice_idx, JsonWriter* json) = 0;
  virtual void WriteTail(JsonWriter* json) = 0;  // keys after "usage"

  const TokenizedPrompt& PromptOf(int choice_idx) const { return prompts_[choice_idx / request_.n]; }
  // Opens an event up to and with "choices":[ ; closes it with usage where asked for.
  JsonWriter BeginEvent(std::string* events) const;
  void EndEvent(int choice_idx, JsonWriter* json, std::string* events) const;
  void WriteFinish(const RequestOutput& output, JsonWriter* json) const;  // "finish_reason", "stop_reason"
  void WriteTokenIds(std::span<const TokenId> ids,
                     JsonWriter* json) const;  // a list, or null where not asked for

  const std::string id_;
  const int64_t created_;
  const GenerationRequest request_;
  const std::vector<TokenizedPrompt> prompts_;
  const LogprobsPrinter logprobs_;
  const AnswerOptions options_;
  std::vector<Choice> choices_;

 private:
  void Count(int choice_idx, const RequestOutput& delta);
  void AppendProgress(int choice_idx, const PromptProgress& progress, std::string* events) const;
  void WriteUsage(int64_t prompt_tokens, int64_t completion_tokens, bool with_details,
                  JsonWriter* json) const;
  void WriteTotalUsage(bool is_stream, JsonWriter* json) const;
  bool wants_metrics() const;
  void WriteMetrics(JsonWriter* json) const;

  int num_finished_ = 0;
  std::vector<int32_t> num_cached_tokens_;  // [prompts]
};

}  // namespace penstock
