// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "apps/bench_iteration.h"
#include "apps/output_queue.h"
#include "base/clock.h"

namespace penstock {
namespace {

constexpr double kMicrosPerSecond = 1e6;

}  // namespace

std::vector<Request> MakeWorkload(const BenchWorkload& workload, int32_t vocab_size, int32_t block_size,
                                  uint32_t seed) {
  std::vector<Request> requests = MakeBenchRequests({.input_len = workload.input_len,
                                                     .output_len = workload.output_len,
                                                     .batch_size = workload.num_requests,
                                                     .detokenize = false},
                                                    vocab_size, seed);
  // At least the last token is always computed.
  const int32_t shared =
      std::min(static_cast<int32_t>(workload.prefix_hit * workload.input_len), workload.input_len - 1) /
      block_size * block_size;
  for (Request& request : requests) {
    std::copy_n(requests.front().prompt_ids.begin(), shared, request.prompt_ids.begin());
  }
  return requests;
}

Result<WorkloadSample> RunWorkload(Engine& engine, const std::vector<Request>& requests, int32_t concurrency,
                                   bool fill_cache) {
  OutputQueue outputs;
  WorkloadSample sample;
  size_t next = 0, num_live = 0;
  const auto submit = [&](const Request& request) {
    ++num_live;
    return outputs.Submit(engine, request, next);
  };
  const auto await_one = [&]() -> Result<RequestTimes> {
    while (true) {
      const RequestOutput output = std::move(outputs.Next().output);
      if (output.finish_reason == FinishReason::kNone) continue;
      if (output.finish_reason == FinishReason::kError) return output.error;
      --num_live;
      return output.times;
    }
  };
  if (fill_cache) {
    Request filler = requests.front();
    filler.request_id = "bench-filler";
    filler.prompt_ids.back() = (filler.prompt_ids.back() + 1) % 2;  // its own last block
    RETURN_IF_ERROR(submit(filler));
    RETURN_IF_ERROR(await_one().status());
  }
  const int64_t begin_us = NowUs();
  while (next < requests.size() || num_live > 0) {
    if (next < requests.size() && num_live < static_cast<size_t>(concurrency)) {
      RETURN_IF_ERROR(submit(requests[next]));
      ++next;
      continue;
    }
    ASSIGN_OR_RETURN(const RequestTimes times, await_one());
    sample.ttfts_s.push_back(static_cast<double>(times.first_token_us - times.arrival_us) / kMicrosPerSecond);
  }
  sample.seconds = static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond;
  return sample;
}

}  // namespace penstock
