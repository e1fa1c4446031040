// What `penstock simulate` prints of its simulations, as text and as JSON.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/json.h"
#include "sim/simulation.h"

namespace penstock {

enum class ReportDetail {
  kOnePrompt,   // of one prompt alone: policy, ttft_s, efficiency, chunks, …
  kWorkload,    // and throughput and percentiles; ttft_s is the mean, chunks are the first request's
  kPerRequest,  // and every request
};

// One object for each report.
Json ReportsJson(std::span<const SimulationReport> reports, ReportDetail detail);

// A table with one line for each report. `ideal_s`: what no policy can be faster than, of one prompt.
std::string ReportsText(std::span<const SimulationReport> reports, ReportDetail detail, double ideal_s);

// "4 × 32768", "2 × 8192, 6144, 5120"; of very many, the first and the last.
std::string FormatChunks(std::span<const int32_t> chunks);

}  // namespace penstock
