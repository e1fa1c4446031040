// SPDX-License-Identifier: Apache-2.0
#include "apps/run_config.h"

namespace penstock {
namespace {

Status ResolveModel(const ParsedFlags& flags, RunConfig* config) {
  const std::vector<std::string>& words = flags.positionals();
  if (words.size() > 1) {
    return InvalidArgument("got the words \"{}\" and \"{}\", expected one model directory", words[0],
                           words[1]);
  }
  if (!words.empty()) config->model_dir = words[0];
  if (flags.Given("model") && (words.empty() || !flags.FromFile("model"))) {
    const std::string model = flags.String("model");
    if (!words.empty() && words[0] != model) {
      return InvalidArgument("got the model \"{}\" and --model \"{}\", expected one of them", words[0],
                             model);
    }
    config->model_dir = model;
  }
  if (config->model_dir.empty())
    return InvalidArgument("got no model, expected a model directory after the command");
  config->tokenizer_dir = flags.Given("tokenizer") ? flags.String("tokenizer") : config->model_dir;

  if (flags.Given("quantization")) {
    const std::string quantization = flags.String("quantization");
    if (quantization != "none" && quantization != "None" && quantization != "null") {
      config->quantization = quantization;
    }
  }
  const std::string dtype = flags.String("dtype");
  if (dtype == "bfloat16") config->dtype = DType::kBF16;
  if (dtype == "float32" || dtype == "float") config->dtype = DType::kF32;
  if (dtype == "float16" || dtype == "half") {
    return Unimplemented(
        "--dtype {}: this engine computes in bfloat16 or float32; float16 checkpoints are read", dtype);
  }
  const std::string kv_dtype = flags.String("kv-cache-dtype");
  if (kv_dtype == "bfloat16") config->kv_dtype = DType::kBF16;
  if (kv_dtype == "float32") config->kv_dtype = DType::kF32;
  if (kv_dtype == "int8" || kv_dtype == "int8_per_token_head") config->kv_dtype = DType::kI8;
  if (flags.Given("max-model-len")) config->max_model_len = flags.Int("max-model-len");
  config->seed = flags.Int("seed");
  config->generation_config = flags.String("generation-config");
  config->override_generation_config = flags.JsonValue("override-generation-config");
  if (!config->override_generation_config.is_null() && !config->override_generation_config.is_object()) {
    return InvalidArgument("--override-generation-config: got {}, expected a JSON object",
                           config->override_generation_config.dump());
  }
  config->max_logprobs = static_cast<int32_t>(flags.Int("max-logprobs"));
  return OkStatus();
}

Status ResolveLayout(const ParsedFlags& flags, const Environment& env, RunConfig* config) {
  config->layout = {.dp = static_cast<int32_t>(flags.Int("data-parallel-size")),
                    .pp = static_cast<int32_t>(flags.Int("pipeline-parallel-size")),
                    .pcp = static_cast<int32_t>(flags.Int("prefill-context-parallel-size")),
                    .tp = static_cast<int32_t>(flags.Int("tensor-parallel-size")),
                    .expert_parallel = flags.Bool("enable-expert-parallel")};
  config->allow_oversubscription = flags.Bool("allow-oversubscription");
  config->synchronous_sends = flags.Bool("synchronous-sends");
  config->sequence_parallel =
      flags.Given("enable-sequence-parallel") ? flags.Bool("enable-sequence-parallel") : env.flashcomm1;
  if (flags.Given("sequence-parallel-min-tokens")) {
    config->sequence_parallel_min_tokens = static_cast<int32_t>(flags.Int("sequence-parallel-min-tokens"));
  }
  return OkStatus();
}

void ResolveRanks(const ParsedFlags& flags, const Environment& env, RunConfig* config) {
  config->layer_partition =
      flags.Given("pp-layer-partition") ? flags.String("pp-layer-partition") : env.pp_layer_partition;
  config->threads_per_rank = env.omp_num_threads;
  if (flags.Given("threads-per-rank")) {
    config->threads_per_rank = static_cast<int32_t>(flags.Int("threads-per-rank"));
  }
  config->kernel_isa = flags.String("kernel-isa");
  if (flags.Given("packed-cache")) config->packed_cache_dir = flags.String("packed-cache");
  if (flags.Given("trace-file")) config->trace_file = flags.String("trace-file");
}

Status ResolveCache(const ParsedFlags& flags, RunConfig* config) {
  config->block_size = static_cast<int32_t>(flags.Int("block-size"));
  if (config->block_size % 16 != 0) {
    return InvalidArgument("--block-size: got {}, expected a multiple of 16", config->block_size);
  }
  config->memory_utilization = flags.Float("gpu-memory-utilization");
  if (config->memory_utilization <= 0) {
    return InvalidArgument("--gpu-memory-utilization: got {}, expected more than 0",
                           config->memory_utilization);
  }
  if (flags.Given("kv-cache-memory-bytes")) config->kv_cache_bytes = flags.Int("kv-cache-memory-bytes");
  if (flags.Given("num-gpu-blocks-override")) {
    config->num_blocks = static_cast<int32_t>(flags.Int("num-gpu-blocks-override"));
  }
  config->enable_prefix_caching = flags.Bool("enable-prefix-caching");
  return OkStatus();
}

Status ResolveScheduler(const ParsedFlags& flags, RunConfig* config) {
  config->max_num_batched_tokens = static_cast<int32_t>(flags.Int("max-num-batched-tokens"));
  config->max_num_seqs = static_cast<int32_t>(flags.Int("max-num-seqs"));
  if (flags.Given("max-num-queued-reqs")) {
    config->max_num_queued_reqs = static_cast<int32_t>(flags.Int("max-num-queued-reqs"));
  }
  if (flags.Given("max-num-queued-tokens"))
    config->max_num_queued_tokens = flags.Int("max-num-queued-tokens");
  config->long_prefill_token_threshold = static_cast<int32_t>(flags.Int("long-prefill-token-threshold"));
  ASSIGN_OR_RETURN(config->scheduling_policy, ParseSchedulingPolicy(flags.String("scheduling-policy")));
  return OkStatus();
}

Status ResolvePlanner(const ParsedFlags& flags, const Environment& env, RunConfig* config) {
  Result<std::vector<ChunkPolicy>> policies = ParseChunkPolicies(flags.String("chunk-policy"));
  if (!policies.ok()) return policies.status().WithContext("--chunk-policy");
  if (policies->size() > 1 && !flags.Known("num-iters")) {
    return InvalidArgument(
        "--chunk-policy: got {} policies, expected one; `penstock bench latency` compares several",
        policies->size());
  }
  config->chunk_policies = *std::move(policies);
  config->equal_latency_release = flags.Bool("equal-latency-release");
  if (flags.Given("max-step-ms")) config->max_step_us = flags.Float("max-step-ms") * 1000;
  const std::string calibration = flags.String("calibration");
  config->calibration = calibration == "always" ? CalibrationMode::kAlways
                        : calibration == "off"  ? CalibrationMode::kOff
                                                : CalibrationMode::kAuto;
  config->calibration_budget_us = static_cast<int64_t>(flags.Float("calibration-seconds") * 1e6);
  if (flags.Given("cost-model")) config->cost_model_file = flags.String("cost-model");
  config->cache_dir = env.cache_dir;
  return OkStatus();
}

Status ResolveAdditional(const ParsedFlags& flags, const Environment& env, RunConfig* config) {
  const AdditionalConfigContext context = {.pipeline_stages = config->layout.pp,
                                           .max_num_batched_tokens = config->max_num_batched_tokens,
                                           .balance_scheduling = env.balance_scheduling};
  Result<AdditionalConfig> additional = ParseAdditionalConfig(flags.JsonValue("additional-config"), context);
  if (!additional.ok()) return additional.status().WithContext("--additional-config");
  config->profiling_chunk = additional->profiling_chunk;
  if (additional->enable_flashcomm1 && !flags.Given("enable-sequence-parallel")) {
    config->sequence_parallel = *additional->enable_flashcomm1;
  }
  for (std::string& warning : additional->warnings) config->warnings.push_back(std::move(warning));
  ASSIGN_OR_RETURN(config->experts, ResolveExperts(flags, additional->eplb_config,
                                                   config->layout.expert_parallel, &config->warnings));
  return OkStatus();
}

}  // namespace

Result<RunConfig> ResolveRunConfig(const ParsedFlags& flags, const Environment& env) {
  RunConfig config;
  RETURN_IF_ERROR(ResolveModel(flags, &config));
  RETURN_IF_ERROR(ResolveLayout(flags, env, &config));
  ResolveRanks(flags, env, &config);
  RETURN_IF_ERROR(ResolveCache(flags, &config));
  RETURN_IF_ERROR(ResolveScheduler(flags, &config));
  RETURN_IF_ERROR(ResolvePlanner(flags, env, &config));
  config.allow_long_max_model_len = env.allow_long_max_model_len;
  config.log_stats_interval_s = env.log_stats_interval_s;

  config.warnings = flags.warnings();
  RETURN_IF_ERROR(ResolveAdditional(flags, env, &config));
  return config;
}

std::string ResolveLogLevel(const ParsedFlags& flags, const Environment& env) {
  if (flags.Given("log-level")) return flags.String("log-level");
  if (flags.Known("uvicorn-log-level") && flags.Given("uvicorn-log-level"))
    return flags.String("uvicorn-log-level");
  return env.log_level.empty() ? "info" : env.log_level;
}

}  // namespace penstock
