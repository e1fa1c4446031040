// The "metrics" of an answer: when a request was where, and how its prompt was computed.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "server/json_writer.h"

namespace penstock {

struct RequestMetrics {
  RequestTimes times;
  int64_t num_output_tokens = 0;
  int32_t num_cached_tokens = 0;
  int32_t num_preemptions = 0;
  std::vector<int32_t> chunk_lens;
};

// vLLM's fields, and after them ours, from "prefill_time_ms" on. What is not known is null.
void WriteRequestMetrics(const RequestMetrics& metrics, JsonWriter* json);

}  // namespace penstock
