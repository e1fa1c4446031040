// RunConfig: what the commands that run a model have in common, from flags and environment, checked as far as
// that is possible without looking at the model.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/environment.h"
#include "apps/expert_flags.h"
#include "apps/flags.h"
#include "apps/profiling_chunk_config.h"
#include "base/json.h"
#include "base/status.h"
#include "plan/make_chunk_planner.h"
#include "plan/parallel_layout.h"
#include "sched/scheduler_config.h"
#include "tensor/dtype.h"

namespace penstock {

// Whether the pipeline is measured at start.
enum class CalibrationMode {
  kAuto,    // where the chunk policy needs it, and there is no saved measurement
  kAlways,  // saved measurements are not read
  kOff,
};

struct RunConfig {
  std::string model_dir;
  std::string tokenizer_dir;
  std::optional<DType> dtype;             // bf16 or f32; absent: by the checkpoint
  std::optional<DType> kv_dtype;          // of the KV cache, i8 too; absent: as weights and activations
  std::string quantization;               // as ReadModelConfig() takes it; empty: as the checkpoint says
  std::optional<int64_t> max_model_len;   // absent: the model's own; -1: what memory allows
  bool allow_long_max_model_len = false;  // beyond the model's own limit
  int64_t seed = 0;
  std::string generation_config;    // "auto", "vllm" or a directory
  Json override_generation_config;  // object or null
  int32_t max_logprobs = 20;        // -1: the whole vocabulary

  ParallelLayout layout;
  ExpertOptions experts;
  bool allow_oversubscription = false;                  // more ranks than cores
  bool synchronous_sends = false;                       // between processes: to measure what they cost
  bool sequence_parallel = false;                       // where tensor parallelism has it to offer
  std::optional<int32_t> sequence_parallel_min_tokens;  // absent: measured at start
  std::string layer_partition;                          // empty: as even as possible; "auto": balanced
  std::optional<int32_t> threads_per_rank;              // absent: cores shared evenly
  std::string kernel_isa;
  std::string trace_file;        // empty: none
  std::string packed_cache_dir;  // empty: none
  bool profile_ops = false;      // bench latency --profile

  int32_t block_size = 64;
  double memory_utilization = 0.9;
  std::optional<int64_t> kv_cache_bytes;
  std::optional<int32_t> num_blocks;
  bool enable_prefix_caching = true;

  int32_t max_num_batched_tokens = 2048;
  int32_t max_num_seqs = 64;
  std::optional<int32_t> max_num_queued_reqs;
  std::optional<int64_t> max_num_queued_tokens;
  int32_t long_prefill_token_threshold = 0;
  SchedulingPolicy scheduling_policy = SchedulingPolicy::kSrpt;

  std::vector<ChunkPolicy> chunk_policies = {ChunkPolicy::kOptimal};  // `bench latency` may have several
  bool equal_latency_release = false;
  double max_step_us = 0;  // 0: no limit
  std::optional<ProfilingChunkConfig> profiling_chunk;
  CalibrationMode calibration = CalibrationMode::kAuto;
  int64_t calibration_budget_us = 12'000'000;
  std::string cost_model_file;  // empty: one of the cache directory
  std::string cache_dir;        // empty: none

  double log_stats_interval_s = 10;
  std::vector<std::string> warnings;  // to be logged
};

// kInvalidArgument for a value that makes no sense, kUnimplemented for one that is known and not here
// (float16). Does not call CheckSupported().
Result<RunConfig> ResolveRunConfig(const ParsedFlags& flags, const Environment& env);

// --log-level, --uvicorn-log-level or VLLM_LOGGING_LEVEL, in this order; "info" if none is set.
std::string ResolveLogLevel(const ParsedFlags& flags, const Environment& env);

}  // namespace penstock
