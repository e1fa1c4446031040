// SPDX-License-Identifier: Apache-2.0
#include "apps/run_config.h"

#include <gtest/gtest.h>

#include <map>

namespace penstock {
namespace {

using Words = std::vector<std::string>;

Result<RunConfig> Resolve(const Words& words, const Environment& env = {}) {
  Result<ParsedFlags> flags = ParseFlags(words, ServeTable());
  if (!flags.ok()) return flags.status();
  return ResolveRunConfig(*flags, env);
}
std::string ResolveError(const Words& words) { return Resolve(words).status().message(); }

TEST(RunConfig, Model) {
  EXPECT_EQ(Resolve({"dir"})->model_dir, "dir");
  EXPECT_EQ(Resolve({"--model", "dir"})->model_dir, "dir");
  EXPECT_EQ(Resolve({"dir", "--tokenizer", "other"})->tokenizer_dir, "other");
  EXPECT_EQ(Resolve({"dir"})->tokenizer_dir, "dir");
  EXPECT_EQ(ResolveError({}), "got no model, expected a model directory after the command");
  EXPECT_EQ(ResolveError({"a", "b"}), "got the words \"a\" and \"b\", expected one model directory");
  EXPECT_EQ(ResolveError({"a", "--model", "b"}),
            "got the model \"a\" and --model \"b\", expected one of them");
}

TEST(RunConfig, Dtype) {
  EXPECT_FALSE(Resolve({"m"})->dtype.has_value());
  EXPECT_EQ(Resolve({"m", "--dtype", "bfloat16"})->dtype, DType::kBF16);
  EXPECT_FALSE(Resolve({"m", "--kv-cache-dtype", "auto"})->kv_dtype.has_value());
  EXPECT_EQ(Resolve({"m", "--kv-cache-dtype", "int8"})->kv_dtype, DType::kI8);
  EXPECT_FALSE(Resolve({"m", "--kv-cache-dtype", "fp8"}).ok());
  EXPECT_EQ(Resolve({"m", "--dtype", "float"})->dtype, DType::kF32);
  EXPECT_EQ(Resolve({"m", "--dtype", "half"}).status().code(), StatusCode::kUnimplemented);
}

TEST(RunConfig, BadValues) {
  EXPECT_EQ(ResolveError({"m", "--block-size", "24"}), "--block-size: got 24, expected a multiple of 16");
  EXPECT_EQ(ResolveError({"m", "--gpu-memory-utilization", "0"}),
            "--gpu-memory-utilization: got 0, expected more than 0");
  EXPECT_EQ(ResolveError({"m", "--override-generation-config", "[1]"}),
            "--override-generation-config: got [1], expected a JSON object");
}

TEST(RunConfig, SchedulingPolicyAndTrace) {
  EXPECT_EQ(Resolve({"m"})->scheduling_policy, SchedulingPolicy::kSrpt);
  EXPECT_EQ(Resolve({"m", "--scheduling-policy", "fcfs"})->scheduling_policy, SchedulingPolicy::kFcfs);
  EXPECT_EQ(Resolve({"m", "--scheduling-policy", "priority"})->scheduling_policy,
            SchedulingPolicy::kPriority);
  EXPECT_FALSE(Resolve({"m", "--scheduling-policy", "lifo"}).ok());
  EXPECT_EQ(Resolve({"m", "--trace", "a.json"})->trace_file, "a.json");
  EXPECT_EQ(Resolve({"m", "--trace-file", "a.json"})->trace_file, "a.json");
  EXPECT_EQ(Resolve({"m"})->packed_cache_dir, "");
  EXPECT_EQ(Resolve({"m", "--packed-cache", "dir"})->packed_cache_dir, "dir");
}

TEST(RunConfig, FlagsWinOverTheEnvironment) {
  const Environment env{.omp_num_threads = 3, .pp_layer_partition = "1,2", .log_level = "DEBUG"};
  EXPECT_EQ(Resolve({"m"}, env)->threads_per_rank, 3);
  EXPECT_EQ(Resolve({"m", "--threads-per-rank", "4"}, env)->threads_per_rank, 4);
  EXPECT_EQ(Resolve({"m"}, env)->layer_partition, "1,2");
  EXPECT_EQ(Resolve({"m", "--pp-layer-partition", "2,1"}, env)->layer_partition, "2,1");
  EXPECT_EQ(ResolveLogLevel(*ParseFlags({}, ServeTable()), env), "DEBUG");
  EXPECT_EQ(ResolveLogLevel(*ParseFlags(Words{"--uvicorn-log-level", "error"}, ServeTable()), env), "error");
  EXPECT_EQ(ResolveLogLevel(*ParseFlags({}, CompleteTable()), {}), "info");
}

TEST(Environment, ReadsTheVariablesThatCount) {
  const std::map<std::string, std::string> variables = {
      {"OMP_NUM_THREADS", "2,4"}, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"},
      {"VLLM_API_KEY", "key"},    {"VLLM_LOG_STATS_INTERVAL", "2.5"},
      {"HCCL_BUFFSIZE", "2048"},  {"VLLM_USE_V1", "1"},
      {"HOME", "/home/me"},       {"VLLM_ASCEND_BALANCE_SCHEDULING", "1"}};
  const auto get = [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  const Environment env = *ReadEnvironment(get);
  EXPECT_EQ(env.omp_num_threads, 2);
  EXPECT_TRUE(env.allow_long_max_model_len);
  EXPECT_EQ(env.api_key, "key");
  EXPECT_EQ(env.log_stats_interval_s, 2.5);
  EXPECT_TRUE(env.balance_scheduling);
  EXPECT_EQ(env.cache_dir, "/home/me/.cache/penstock");
  EXPECT_EQ(ReadEnvironment([](const char*) { return "x"; }).status().message(),
            "OMP_NUM_THREADS: got \"x\", expected a number of threads > 0");
}

TEST(RunConfig, ChunkPolicy) {
  EXPECT_EQ(Resolve({"m"})->chunk_policies, (std::vector{ChunkPolicy::kOptimal}));
  EXPECT_EQ(Resolve({"m", "--chunk-policy", "equal-latency"})->chunk_policies,
            (std::vector{ChunkPolicy::kEqualLatency}));
  EXPECT_TRUE(ResolveError({"m", "--chunk-policy", "best"}).starts_with("--chunk-policy: "));
  EXPECT_TRUE(ResolveError({"m", "--chunk-policy", "static,optimal"})
                  .starts_with("--chunk-policy: got 2 policies, expected one"));
  const Words bench = {"m", "--chunk-policy", "static,equal-latency,sglang,optimal"};
  EXPECT_EQ(ResolveRunConfig(*ParseFlags(bench, BenchLatencyTable()), {})->chunk_policies.size(), 4u);
  EXPECT_FALSE(Resolve({"m"})->equal_latency_release);
  EXPECT_TRUE(Resolve({"m", "--equal-latency-release"})->equal_latency_release);
  EXPECT_EQ(Resolve({"m", "--max-step-ms", "2.5"})->max_step_us, 2500);
}

TEST(RunConfig, Calibration) {
  EXPECT_EQ(Resolve({"m"})->calibration, CalibrationMode::kAuto);
  EXPECT_EQ(Resolve({"m", "--calibration", "always"})->calibration, CalibrationMode::kAlways);
  EXPECT_EQ(Resolve({"m", "--calibration", "off"})->calibration, CalibrationMode::kOff);
  EXPECT_NE(ResolveError({"m", "--calibration", "perhaps"}), "");
  EXPECT_EQ(Resolve({"m"})->calibration_budget_us, 12'000'000);
  EXPECT_EQ(Resolve({"m", "--calibration-seconds", "0.5"})->calibration_budget_us, 500'000);
  EXPECT_EQ(Resolve({"m", "--cost-model", "f.json"})->cost_model_file, "f.json");
  EXPECT_EQ(Resolve({"m"}, {.cache_dir = "/c"})->cache_dir, "/c");
}

TEST(RunConfig, BalanceSchedulingOfTheEnvironmentExcludesDynamicChunks) {
  const Words words = {"m", "-pp", "2", "--additional-config",
                       R"({"profiling_chunk_config": {"enabled": true}})"};
  EXPECT_TRUE(Resolve(words).ok());
  EXPECT_NE(Resolve(words, {.balance_scheduling = true}).status().message().find("balance scheduling"),
            std::string::npos);
}

TEST(Environment, CacheDirectory) {
  const auto cache_dir = [](std::map<std::string, std::string> variables) {
    return ReadEnvironment([&](const char* name) {
             const auto found = variables.find(name);
             return found == variables.end() ? nullptr : found->second.c_str();
           })
        ->cache_dir;
  };
  EXPECT_EQ(cache_dir({{"XDG_CACHE_HOME", "/x"}, {"HOME", "/h"}}), "/x/penstock");
  EXPECT_EQ(cache_dir({{"XDG_CACHE_HOME", "relative"}, {"HOME", "/h"}}), "/h/.cache/penstock");
  EXPECT_EQ(cache_dir({}), "");
}

}  // namespace
}  // namespace penstock
