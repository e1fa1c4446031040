// SPDX-License-Identifier: Apache-2.0
#include "apps/environment.h"

#include <cstdlib>

#include "apps/flag_value.h"

namespace penstock {

Result<Environment> ReadEnvironment(const std::function<const char*(const char* name)>& get) {
  const auto text = [&](const char* name) {
    const char* value = get(name);
    return std::string(value == nullptr ? "" : value);
  };
  Environment env;
  if (const std::string threads = text("OMP_NUM_THREADS"); !threads.empty()) {
    // OpenMP allows a list, one number for each level of nesting: the first is the one of a rank.
    Result<int64_t> value = ParseInt(threads.substr(0, threads.find(',')));
    if (!value.ok() || *value < 1 || *value > 4096) {
      return InvalidArgument("OMP_NUM_THREADS: got \"{}\", expected a number of threads > 0", threads);
    }
    env.omp_num_threads = static_cast<int32_t>(*value);
  }
  if (const std::string interval = text("VLLM_LOG_STATS_INTERVAL"); !interval.empty()) {
    Result<double> value = ParseFloat(interval);
    if (!value.ok() || *value <= 0) {
      return InvalidArgument("VLLM_LOG_STATS_INTERVAL: got \"{}\", expected seconds > 0", interval);
    }
    env.log_stats_interval_s = *value;
  }
  if (const std::string limit = text("HCCL_CONNECT_TIMEOUT"); !limit.empty()) {
    Result<double> value = ParseFloat(limit);
    if (!value.ok() || *value <= 0) {
      return InvalidArgument("HCCL_CONNECT_TIMEOUT: got \"{}\", expected seconds > 0", limit);
    }
    env.hccl_connect_timeout_s = *value;
  }
  const std::string allow = text("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
  env.allow_long_max_model_len = allow == "1" || allow == "true" || allow == "True";
  const std::string balance = text("VLLM_ASCEND_BALANCE_SCHEDULING");
  const std::string flashcomm1 = text("VLLM_ASCEND_ENABLE_FLASHCOMM1");
  env.flashcomm1 = !flashcomm1.empty() && flashcomm1 != "0";
  env.balance_scheduling = !balance.empty() && balance != "0";
  if (const std::string cache = text("XDG_CACHE_HOME"); cache.starts_with('/')) {
    env.cache_dir = cache + "/penstock";  // the XDG specification: a relative path is to be ignored
  } else if (const std::string home = text("HOME"); home.starts_with('/')) {
    env.cache_dir = home + "/.cache/penstock";
  }
  env.pp_layer_partition = text("VLLM_PP_LAYER_PARTITION");
  env.api_key = text("VLLM_API_KEY");
  env.log_level = text("VLLM_LOGGING_LEVEL");
  return env;
}

Result<Environment> ReadEnvironment() {
  return ReadEnvironment([](const char* name) { return static_cast<const char*>(std::getenv(name)); });
}

}  // namespace penstock
