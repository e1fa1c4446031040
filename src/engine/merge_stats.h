// One EngineStats for several replicas.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "engine/engine.h"

namespace penstock {

// Counters, gauges and histograms are sums; stages are those of all replicas with the same index. Of what is
// a property of one engine:
//  - prefill_backlog_seconds is the least, for that is how long a new request has to wait;
//  - prefill_us_per_token is that of all replicas together, working at the same time;
//  - kv_cache_usage is the mean; last_progress_us the latest;
//  - cost models and policies are those of the replica that has run the most steps: they are equal machines.
// A refusal counts at every replica that refused, also where another one took the request.
// REQUIRES: at least one.
EngineStats MergeStats(std::span<const EngineStats> replicas);

}  // namespace penstock
