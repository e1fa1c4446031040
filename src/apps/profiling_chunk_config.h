// --additional-config of vLLM-Ascend: the part that belongs to dynamic chunks, read and checked as
// vLLM-Ascend does.
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
};

struct AdditionalConfig {
  std::optional<ProfilingChunkConfig> profiling_chunk;
  std::vector<std::string> warnings;
};

// `config`: {"profiling_chunk_config": {…}} or {"scheduler_config": {"profiling_chunk_config": {…}}}; the
// latter wins where both are there. Null: nothing. kInvalidArgument in vLLM-Ascend's words; kUnimplemented
// naming a key that is not known.
Result<AdditionalConfig> ParseAdditionalConfig(const Json& config, int32_t pipeline_stages,
                                               int64_t max_num_batched_tokens);

}  // namespace penstock
