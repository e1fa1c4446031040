// SPDX-License-Identifier: Apache-2.0
#include "apps/serve_options.h"

#include "apps/flag_help.h"
#include "apps/sampling_defaults.h"

namespace penstock {
namespace {

std::vector<std::string> SplitByComma(const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

void SetRouterOptions(const ParsedFlags& flags, const Environment& env, RouterOptions* router) {
  router->api_keys = flags.List("api-key");
  if (router->api_keys.empty() && !env.api_key.empty()) router->api_keys = {env.api_key};
  router->cors.allowed_origins = flags.List("allowed-origins");
  router->cors.allowed_methods = flags.List("allowed-methods");
  router->cors.allowed_headers = flags.List("allowed-headers");
  router->cors.allow_credentials = flags.Bool("allow-credentials");
  router->echo_request_id = flags.Bool("enable-request-id-headers");
  router->access_log = !flags.Bool("disable-uvicorn-access-log");
  if (flags.Given("disable-access-log-for-endpoints")) {
    router->access_log_skip = SplitByComma(flags.String("disable-access-log-for-endpoints"));
  }
}

}  // namespace

Result<ServerOptions> MakeServerOptions(const CommandSetup& setup) {
  const ParsedFlags& flags = setup.flags;
  const RunConfig& run = setup.run;
  ServerOptions options;
  if (flags.Given("host")) options.http.host = flags.String("host");
  options.http.port = static_cast<int>(flags.Int("port"));
  SetRouterOptions(flags, setup.env, &options.router);
  options.answer.prompt_tokens_details = flags.Bool("enable-prompt-tokens-details");
  options.answer.force_include_usage = flags.Bool("enable-force-include-usage");
  options.answer.per_request_metrics = flags.Bool("enable-per-request-metrics");
  options.served_model_names = flags.List("served-model-name");
  if (options.served_model_names.empty()) options.served_model_names = {run.model_dir};
  options.model_root = run.model_dir;
  options.version = kPenstockVersion;
  ASSIGN_OR_RETURN(const SamplingDefaults defaults, ReadSamplingDefaults(run.model_dir, run.generation_config,
                                                                         run.override_generation_config));
  options.default_sampling = defaults.params;
  options.default_max_tokens = defaults.max_tokens;
  options.allow_priority = run.scheduling_policy == SchedulingPolicy::kPriority;
  options.sse_keep_alive_interval_seconds = static_cast<double>(flags.Int("sse-keep-alive-interval"));
  if (flags.Bool("enable-tokenizer-info-endpoint")) {
    ASSIGN_OR_RETURN(options.tokenizer_info, ReadJsonFile(run.tokenizer_dir + "/tokenizer_config.json"));
  }
  return options;
}

Json DescribeConfig(const RunConfig& run, const EnginePlan& plan) {
  Json config = {
      {"model", run.model_dir},
      {"tokenizer", run.tokenizer_dir},
      {"dtype", DTypeName(plan.options.dtype)},
      {"kv_cache_dtype", DTypeName(plan.options.KvDType())},
      {"max_model_len", plan.options.max_model_len},
      {"max_num_seqs", run.max_num_seqs},
      {"max_num_batched_tokens", plan.options.max_batched_tokens},
      {"pipeline_parallel_size", plan.layout.pp},
      {"tensor_parallel_size", plan.layout.tp},
      {"prefill_context_parallel_size", plan.layout.pcp},
      {"data_parallel_size", plan.layout.dp},
      {"expert_parallel", plan.layout.expert_parallel},
      {"expert_placement", run.experts.placement_file},
      {"num_redundant_experts", run.experts.num_redundant},
      {"sequence_parallel", run.sequence_parallel && plan.layout.tp > 1},
      {"threads_per_rank", Json::array()},
      {"layers_per_stage", Json::array()},
      {"kernel_isa", plan.kernels},
      {"block_size", plan.options.block_size},
      {"num_gpu_blocks", plan.memory.num_blocks},
      {"kv_cache_memory_bytes", plan.memory.kv_bytes},
      {"enable_prefix_caching", run.enable_prefix_caching},
      {"scheduling_policy", SchedulingPolicyName(run.scheduling_policy)},
      {"chunk_policy", ChunkPolicyName(run.chunk_policies[0])},
      {"max_step_ms", run.max_step_us / 1000},
      {"long_prefill_token_threshold", run.long_prefill_token_threshold},
      {"seed", run.seed},
  };
  for (int32_t stage = 0; stage < plan.layout.pp; ++stage) {
    const LayerRange& range = plan.ranges[plan.Leader(static_cast<size_t>(stage))];
    config["layers_per_stage"].push_back(range.last_layer - range.first_layer);
  }
  for (const std::vector<int>& cores : plan.cores) config["threads_per_rank"].push_back(cores.size());
  return config;
}

}  // namespace penstock
