// SPDX-License-Identifier: Apache-2.0
#include "engine/stats_log.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "engine/engine_core.h"

namespace penstock {

std::string StatsLine(const EngineStats& before, const EngineStats& now, int64_t interval_us,
                      int32_t engine_idx) {
  const double seconds = static_cast<double>(interval_us) * 1e-6;
  const auto prompt_tokens = static_cast<double>(now.computed_prompt_tokens - before.computed_prompt_tokens);
  const auto generation_tokens = static_cast<double>(now.generation_tokens - before.generation_tokens);
  const auto queries = static_cast<double>(now.prefix_cache_queries);
  const double hit_rate = queries > 0 ? static_cast<double>(now.prefix_cache_hits) / queries : 0;
  return fmt::format(
      "Engine {:03}: Avg prompt throughput: {:.1f} tokens/s, Avg generation throughput: {:.1f} tokens/s, "
      "Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {:.1f}%, Prefix cache hit rate: {:.1f}%",
      engine_idx, prompt_tokens / seconds, generation_tokens / seconds, now.num_running, now.num_waiting,
      100 * now.kv_cache_usage, 100 * hit_rate);
}

int64_t StatsLog::Tick(const EngineCore& core, int64_t now_us) {
  if (interval_us_ == 0) return StallDetector::kNever;
  const bool traffic = !core.idle() || core.steps_in_flight() > 0;
  if (begin_us_ == 0) {
    if (!traffic) return StallDetector::kNever;
    begin_us_ = now_us;
    return begin_us_ + interval_us_;
  }
  if (now_us < begin_us_ + interval_us_) return begin_us_ + interval_us_;

  EngineStats now = core.Stats();
  LogInfo("{}", StatsLine(before_, now, now_us - begin_us_, core.config().engine_idx));
  before_ = std::move(now);
  begin_us_ = traffic ? now_us : 0;
  return traffic ? begin_us_ + interval_us_ : StallDetector::kNever;
}

}  // namespace penstock
