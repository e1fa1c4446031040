// Environment: the variables that penstock reads. Read once, here only; everything else gets values.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/status.h"

namespace penstock {

struct Environment {
  std::optional<int32_t> omp_num_threads{};  // OMP_NUM_THREADS: threads of a rank
  std::string pp_layer_partition{};          // VLLM_PP_LAYER_PARTITION
  bool allow_long_max_model_len = false;     // VLLM_ALLOW_LONG_MAX_MODEL_LEN
  std::string api_key{};                     // VLLM_API_KEY
  std::string log_level{};                   // VLLM_LOGGING_LEVEL
  double log_stats_interval_s = 10;          // VLLM_LOG_STATS_INTERVAL
  double hccl_connect_timeout_s = 120;       // HCCL_CONNECT_TIMEOUT: for all processes to be there
  bool flashcomm1 = false;                   // VLLM_ASCEND_ENABLE_FLASHCOMM1: sequence parallelism
  bool balance_scheduling = false;           // VLLM_ASCEND_BALANCE_SCHEDULING
  std::string cache_dir{};                   // XDG_CACHE_HOME, else HOME/.cache; with /penstock. Empty: none
};

// Other variables (HCCL_*, VLLM_USE_V1, PYTORCH_*, …) are left alone. kInvalidArgument names a variable whose
// value makes no sense. `get` returns null for a variable that is not set.
Result<Environment> ReadEnvironment(const std::function<const char*(const char* name)>& get);
Result<Environment> ReadEnvironment();

}  // namespace penstock
