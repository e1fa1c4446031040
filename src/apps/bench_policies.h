// Chunk policies measured in turn (A B C D, A B C D, …) over one loaded model and one pipeline.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "apps/bench_iteration.h"
#include "apps/engine_factory.h"
#include "apps/policy_report.h"
#include "apps/run_config.h"
#include "base/status.h"

namespace penstock {

// Every policy has its own engine, which keeps what it learns from one iteration to the next. In each round
// all of them are given the same prompt, in the next one another. REQUIRES: options.batch_size is 1, and no
// prefix caching.
Result<PolicyReport> MeasurePolicies(const RunConfig& run, const LoadedModel& model, const PipelineCost& cost,
                                     const BenchOptions& options, int64_t num_warmup, int64_t num_iters);

}  // namespace penstock
