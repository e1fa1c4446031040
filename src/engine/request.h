// Request and what comes back for it: the one validated form into which every endpoint lowers its JSON, and
// the stream of outputs that every endpoint's answer is made from.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "plan/sampling_params.h"
#include "plan/step.h"

namespace penstock {

struct Request {
  std::string request_id;           // unique among live requests
  std::vector<TokenId> prompt_ids;  // not empty, every id inside the vocabulary
  SamplingParams sampling;          // validated
  int32_t priority = 0;             // lower is served first (policy "priority" only)
  std::string cache_salt;           // requests share cached blocks only where the salts are equal
  bool detokenize = true;           // false: RequestOutput::text stays empty
  bool report_progress = false;     // RequestOutput::progress
};

enum class FinishReason {
  kNone,    // not finished
  kStop,    // end-of-sequence token, stop token or stop string
  kLength,  // max_tokens or max_model_len
  kAbort,   // cancelled by the client, or the server is ending
  kError,   // RequestOutput::error says what
};

// When a request passed which point: microseconds of the steady clock; 0: not yet.
struct RequestTimes {
  int64_t arrival_us = 0;
  int64_t first_scheduled_us = 0;
  int64_t first_token_us = 0;
  int64_t last_token_us = 0;
  int64_t finish_us = 0;
};

// How much of a prompt has been computed.
struct PromptProgress {
  int32_t num_tokens = 0;  // of the prompt
  int32_t num_cached = 0;  // of these, found in the prefix cache
  int32_t num_done = 0;    // of these, computed or cached
  int64_t elapsed_us = 0;  // since its first chunk was scheduled
};

// One increment. The sink gets one or more, and exactly one (the last) with finish_reason != kNone.
struct RequestOutput {
  std::string text;                        // new text: whole characters
  std::vector<TokenId> token_ids;          // new tokens
  std::vector<PositionLogprobs> logprobs;  // beside token_ids, where asked for
  // Once, with the first output, where asked for: entry i is of prompt token i + 1 (the first has none).
  std::vector<PositionLogprobs> prompt_logprobs;
  // Where asked for, before the first token: once when the prompt is begun, with num_done == num_cached, then
  // for each chunk that has passed the pipeline; num_done grows, up to num_tokens.
  std::vector<PromptProgress> progress;

  FinishReason finish_reason = FinishReason::kNone;
  std::variant<std::monostate, std::string, TokenId>
      stop_reason;  // the stop string or token, where it was one
  Status error;

  int32_t num_prompt_tokens = 0;
  int32_t num_cached_tokens = 0;  // of the prompt, found in the prefix cache
  int32_t num_output_tokens = 0;  // so far
  int32_t num_preemptions = 0;
  std::vector<int32_t> chunk_lens;  // with the last output: the prompt's chunks, in the order of submission,
                                    // and after a preemption those by which it was computed again
  RequestTimes times;
};

// Called on the engine's thread, in order; must not block and must not call the engine. After the output with
// a finish reason it is called no more.
using OutputSink = std::function<void(RequestOutput output)>;

}  // namespace penstock
