// Workload: the requests that a simulation sends: how long they are, when they come, what of them is cached.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock {

// A normal distribution, cut off at both ends and rounded; std 0: `mean` each time.
struct LengthDistribution {
  double mean = 0;
  double std = 0;
  int32_t min = 1;
  int32_t max = std::numeric_limits<int32_t>::max();
};

struct SimRequest {
  int64_t arrival_us = 0;  // after the begin; of no meaning where clients take turns
  int32_t prompt_len = 0;  // >= 1
  int32_t output_len = 1;  // >= 1
  int32_t cached_len = 0;  // of the prompt: 0 … prompt_len - 1, computed before by somebody else
};

struct Workload {
  int32_t num_requests = 1;
  LengthDistribution prompt_len;
  int32_t output_len = 1;
  double prefix_hit_share = 0;  // of each prompt, 0 … 1
  double request_rate = 0;      // requests per second, at random (Poisson); 0: all at the begin
  // Closed loop: so many clients, each of which sends a request when its last one has ended. 0: none,
  // requests come when they come.
  int32_t num_clients = 0;
  double client_us = 0;  // Traffic's
  double client_token_us = 0;
  uint64_t seed = 0;
};

// Requests in the order of arrival, and by whom they are sent. A client has work of its own before each
// request that it sends (it, the network, the tokenizer): so much, and so much for each token of the prompt.
struct Traffic {
  std::vector<SimRequest> requests;
  int32_t num_clients = 0;
  double client_us = 0;
  double client_token_us = 0;
};

// kInvalidArgument for values out of range.
Result<Traffic> DrawTraffic(const Workload& workload);

// A recorded trace, one JSON object on each line: {"arrival_s": 0.5, "prompt_len": 8192, "output_len": 1,
// "cached_len": 4096}; arrival_s and cached_len are 0 where they are left out. Empty lines are skipped.
// Sorted by arrival. kInvalidArgument names the line ("`what`:3: …").
Result<Traffic> ParseTraffic(std::string_view text, std::string_view what);

}  // namespace penstock
