// --additional-config of vLLM-Ascend: the part that belongs to dynamic chunks, read and checked as
// vLLM-Ascend does, with its messages; and the switch of sequence parallelism.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

struct ProfilingChunkConfig {
  bool enabled = false;
  double smooth_factor = 1.0;  // (0, 1]
  int64_t min_chunk = 4096;    // > 0; at most max_num_batched_tokens
  bool need_timing = false;    // unset: as `enabled`
  int64_t max_fit_chunk = 30;  // > 5
  // Whether the operator gave them, or they are defaults: only what was given binds other policies than
  // vLLM-Ascend's own.
  bool smooth_factor_given = false;
  bool min_chunk_given = false;
};

// What it is checked against.
struct AdditionalConfigContext {
  int32_t pipeline_stages = 1;
  int64_t max_num_batched_tokens = 2048;
  bool balance_scheduling = false;  // VLLM_ASCEND_BALANCE_SCHEDULING
};

struct AdditionalConfig {
  std::optional<ProfilingChunkConfig> profiling_chunk;
  std::optional<bool> enable_flashcomm1;  // sequence parallelism
  Json eplb_config;                       // as it is (expert_flags.h); null: not given
  std::vector<std::string> warnings;
};

// `config`: {"profiling_chunk_config": {…}} or {"scheduler_config": {"profiling_chunk_config": {…}}}; the
// latter wins as a whole where both are there. Null: nothing. {"enable_flashcomm1": true, "eplb_config": {…}}
// beside them. Known besides, in both places, are vLLM-Ascend's other schedulers, which dynamic chunks
// exclude: enable_balance_scheduling, short_request_first_config, dyntra_lb_config, batch_job_sched_config,
// recompute_scheduler_enable.
//
// kInvalidArgument in vLLM-Ascend's words; kUnimplemented for another scheduler that is enabled, and naming a
// key that is not known.
Result<AdditionalConfig> ParseAdditionalConfig(const Json& config, const AdditionalConfigContext& context);

}  // namespace penstock
