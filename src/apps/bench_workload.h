// A closed loop of clients that send prompts of one length, part of which is known to the prefix cache.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"

namespace penstock {

struct BenchWorkload {
  int32_t input_len = 0;
  int32_t output_len = 1;
  int32_t num_requests = 1;
  int32_t concurrency = 1;
  double prefix_hit = 0;  // share of each prompt that all of them begin with, rounded down to blocks
};

// The same for the same options and seed.
std::vector<Request> MakeWorkload(const BenchWorkload& workload, int32_t vocab_size, int32_t block_size,
                                  uint32_t seed);

struct WorkloadSample {
  std::vector<double> ttfts_s;  // [num_requests], in the order in which they ended
  double seconds = 0;
};

// Sends one request that fills the prefix cache, where a part is to come from there, then all of them, with
// as many at once as there are clients. REQUIRES: no other requests run.
Result<WorkloadSample> RunWorkload(Engine& engine, const std::vector<Request>& requests, int32_t concurrency,
                                   bool fill_cache);

}  // namespace penstock
