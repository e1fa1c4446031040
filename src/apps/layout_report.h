// LayoutBenchReport: layouts of the same ranks measured one after the other with the same requests.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace penstock {

struct LayoutBenchRow {
  std::string layout;  // "pp2tp2"
  int32_t num_ranks = 1;
  int32_t input_len = 0;
  std::vector<double> ttfts_s;  // of the requests; not empty
  double seconds = 0;           // from the first request to the end of the last

  double ttft_s() const;  // median
  double tokens_per_s_per_rank() const;
};

struct LayoutBenchReport {
  std::string model;
  int32_t concurrency = 1;
  double prefix_hit = 0;  // share of each prompt that is in the prefix cache
  std::vector<LayoutBenchRow> rows;
};

std::string LayoutText(const LayoutBenchReport& report);
Json LayoutJson(const LayoutBenchReport& report);

}  // namespace penstock
