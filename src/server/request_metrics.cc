// SPDX-License-Identifier: Apache-2.0
#include "server/request_metrics.h"

namespace penstock {

void WriteRequestMetrics(const RequestMetrics& metrics, JsonWriter* json) {
  const RequestTimes& times = metrics.times;
  const auto ms = [&](const char* key, int64_t from_us, int64_t to_us) {
    json->Key(key);
    if (from_us > 0 && to_us >= from_us)
      json->Double(static_cast<double>(to_us - from_us) / 1000.0);
    else
      json->Null();
  };
  const int64_t decoded = metrics.num_output_tokens - 1;  // after the first
  const auto decode_us = static_cast<double>(times.last_token_us - times.first_token_us);
  json->BeginObject();
  ms("time_to_first_token_ms", times.arrival_us, times.first_token_us);
  ms("generation_time_ms", times.first_scheduled_us, times.last_token_us);
  ms("queue_time_ms", times.arrival_us, times.first_scheduled_us);
  json->Key("mean_itl_ms");
  if (decoded > 0)
    json->Double(decode_us / 1000.0 / static_cast<double>(decoded));
  else
    json->Null();
  json->Key("tokens_per_second");
  if (decoded > 0 && decode_us > 0)
    json->Double(static_cast<double>(decoded) * 1e6 / decode_us);
  else
    json->Null();
  ms("prefill_time_ms", times.first_scheduled_us, times.first_token_us);
  json->Key("prefill_chunks").Int(static_cast<int64_t>(metrics.chunk_lens.size()));
  json->Key("chunk_sizes").BeginArray();
  for (const int32_t len : metrics.chunk_lens) json->Int(len);
  json->EndArray().Key("cached_tokens").Int(metrics.num_cached_tokens);
  json->Key("num_preemptions").Int(metrics.num_preemptions).EndObject();
}

}  // namespace penstock
