// PolicyReport: chunk policies measured side by side on one pipeline.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/latency_report.h"
#include "base/json.h"
#include "plan/cost_model.h"

namespace penstock {

struct PolicyMeasurement {
  std::string policy;
  std::vector<LatencySample> samples;  // not empty; one prompt each
  CostModel cost;                      // that its planner went by; not known: nothing is predicted
};

struct PolicyReport {
  int32_t input_len = 0;
  CostModel cost;  // one for all: the work that efficiency is the share of
  std::vector<PolicyMeasurement> policies;
};

struct PolicyRow {
  std::string policy;
  double ttft_s = 0;                       // median
  std::vector<int32_t> chunks;             // of the iteration that took as long
  std::optional<double> efficiency;        // pure work of all stages / (stages * ttft)
  std::optional<double> predicted_ttft_s;  // of these chunks, by its model
  std::optional<double> ideal_ttft_s;      // at an efficiency of 1
  std::vector<double> ttfts_s;             // of all iterations
  std::vector<double> stage_busy_share;    // [num_stages], of the same iteration: time at work / ttft
};

std::vector<PolicyRow> PolicyRows(const PolicyReport& report);
std::string PolicyText(const PolicyReport& report);
// [{"policy", "ttft_s", "efficiency", "chunks", "predicted_ttft_s", …}], null for what is not known.
Json PolicyJson(const PolicyReport& report);

}  // namespace penstock
