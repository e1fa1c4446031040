// The page of /metrics, in Prometheus' text format. Names and labels are vLLM's, so that its dashboards work;
// what only this server has begins with "penstock:".
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/engine.h"
#include "server/rank_metrics.h"
#include "server/router.h"

namespace penstock {

struct ProcessStats {
  int64_t resident_bytes = 0;
  int64_t virtual_bytes = 0;
  double cpu_seconds = 0;
  int64_t open_fds = 0;
  int64_t max_fds = 0;
  double start_time_seconds = 0;  // since 1970
};
ProcessStats ReadProcessStats();

// The most series of expert loads of an engine; where there would be more, there are none.
inline constexpr size_t kMaxExpertSeries = 4096;

// Each engine's series have its index as label `engine`. `now_us`: NowUs(), for ages.
std::string MetricsPage(const std::string& model_name, std::span<const EngineStats> engines,
                        const EngineLimits& limits, const HttpStats& http, const ProcessStats& process,
                        int64_t now_us, const RankMetrics& ranks = {});

}  // namespace penstock
