// LatencyReport: what `bench latency` prints, as text and as JSON. Lines and keys that `vllm bench latency`
// has are the same here.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace penstock {

// One measured iteration.
struct LatencySample {
  double latency_s = 0;
  std::vector<double> first_token_s;  // [batch_size], from the iteration's begin
  std::vector<double> stage_busy_s;   // [num_stages]
  std::vector<int32_t> chunks{};      // of the prompt of the request that ended first
};

struct LatencyReport {
  std::string model;
  int32_t input_len = 0;
  int32_t output_len = 0;
  int32_t batch_size = 0;
  std::vector<LatencySample> samples;  // not empty
};

std::string LatencyText(const LatencyReport& report);
Json LatencyJson(const LatencyReport& report);

}  // namespace penstock
