// One iteration of `bench latency`: a batch of requests with random prompts, all at once, until the last has
// ended.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "apps/latency_report.h"
#include "base/status.h"
#include "engine/engine.h"

namespace penstock {

struct BenchOptions {
  int32_t input_len = 0;
  int32_t output_len = 0;
  int32_t batch_size = 0;
  bool detokenize = true;
};

// kInvalidArgument if the requests are longer than a sequence may be.
Status CheckBenchLength(const BenchOptions& options, int32_t max_model_len);

// The same for the same seed.
std::vector<Request> MakeBenchRequests(const BenchOptions& options, int32_t vocab_size, uint32_t seed);

// REQUIRES: no other requests run.
Result<LatencySample> RunBenchIteration(Engine& engine, const std::vector<Request>& requests);

}  // namespace penstock
