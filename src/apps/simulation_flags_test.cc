// SPDX-License-Identifier: Apache-2.0
#include "apps/simulation_flags.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "apps/commands.h"
#include "base/json.h"

namespace penstock {
namespace {

using Words = std::vector<std::string>;

ParsedFlags Parse(Words words, const std::string& cost = "deepseek-v3.1") {
  words.insert(words.end(), {"--cost", cost});
  Result<ParsedFlags> flags = ParseFlags(words, SimulateCommandTable());
  CHECK(flags.ok()) << flags.status().message();
  return *std::move(flags);
}
SimulationSetup SetupOf(Words words) { return *ResolveSimulation(Parse(std::move(words))); }
Traffic TrafficOf(Words words) { return *ResolveTraffic(Parse(std::move(words))); }
std::string SetupError(Words words) { return ResolveSimulation(Parse(std::move(words))).status().message(); }
std::string TrafficError(Words words) { return ResolveTraffic(Parse(std::move(words))).status().message(); }

TEST(SimulationFlags, Defaults) {
  const SimulationSetup setup = SetupOf({});
  EXPECT_EQ(setup.config.cost.num_stages(), 2);
  EXPECT_EQ(setup.config.max_num_batched_tokens, 32768);
  EXPECT_EQ(setup.config.block_size, 128);
  EXPECT_EQ(setup.config.num_warm_up, 5);
  EXPECT_EQ(setup.config.scheduling, SchedulingPolicy::kSrpt);
  EXPECT_EQ(setup.policies.size(), 4u);
  EXPECT_FALSE(setup.planner.smooth_factor.has_value());
  EXPECT_FALSE(setup.planner.min_chunk.has_value());
  EXPECT_EQ(setup.planner.fixed_target_us, 0);
  const Traffic traffic = TrafficOf({});
  ASSERT_EQ(traffic.requests.size(), 1u);
  EXPECT_EQ(traffic.requests[0].prompt_len, 131072);
  EXPECT_EQ(traffic.requests[0].output_len, 1);
}

TEST(SimulationFlags, AllOfThem) {
  const SimulationSetup setup = SetupOf({"--stage-shares",
                                         "1,1,1.25",
                                         "--max-num-batched-tokens",
                                         "16K",
                                         "--block-size",
                                         "64",
                                         "--chunk-policy",
                                         "optimal,static",
                                         "--smooth-factor",
                                         "0.8",
                                         "--min-chunk",
                                         "32k",
                                         "--no-warm-up",
                                         "--noise",
                                         "0.05",
                                         "--seed",
                                         "7",
                                         "--scheduling-policy",
                                         "fcfs",
                                         "--max-num-seqs",
                                         "9",
                                         "--fixed-target-ms",
                                         "250"});
  EXPECT_EQ(setup.config.cost.num_stages(), 3);
  EXPECT_GT(setup.config.cost.stages[2].token_us, setup.config.cost.stages[0].token_us);
  EXPECT_EQ(setup.config.max_num_batched_tokens, 16384);
  EXPECT_EQ(setup.config.block_size, 64);
  EXPECT_EQ(setup.policies, (std::vector<ChunkPolicy>{ChunkPolicy::kOptimal, ChunkPolicy::kStatic}));
  EXPECT_EQ(setup.planner.smooth_factor, 0.8);
  EXPECT_EQ(setup.planner.min_chunk, 16384);  // lowered
  EXPECT_EQ(setup.config.num_warm_up, 0);
  EXPECT_EQ(setup.config.noise, 0.05);
  EXPECT_EQ(setup.config.seed, 7u);
  EXPECT_EQ(setup.config.scheduling, SchedulingPolicy::kFcfs);
  EXPECT_EQ(setup.config.max_num_seqs, 9);
  EXPECT_EQ(setup.planner.fixed_target_us, 250'000);
}

TEST(SimulationFlags, Workloads) {
  const Traffic drawn = TrafficOf({"--prompt-len-mean", "32K", "--prompt-len-std", "32K", "--prompt-len-min",
                                   "4K", "--prompt-len-max", "64K", "--num-clients", "4",
                                   "--prefix-hit-share", "0.5", "--output-len", "3"});
  EXPECT_EQ(drawn.requests.size(), 100u);
  EXPECT_EQ(drawn.num_clients, 4);
  EXPECT_NE(drawn.requests[0].prompt_len, drawn.requests[1].prompt_len);
  for (const SimRequest& request : drawn.requests) {
    EXPECT_GE(request.prompt_len, 4096);
    EXPECT_LE(request.prompt_len, 65536);
    EXPECT_NEAR(request.cached_len, request.prompt_len / 2.0, 1);
    EXPECT_EQ(request.output_len, 3);
  }
  const Traffic poisson = TrafficOf({"--prompt-len", "8K", "--request-rate", "2", "--num-requests", "10"});
  EXPECT_EQ(poisson.requests.size(), 10u);
  EXPECT_GT(poisson.requests[9].arrival_us, 0);
  EXPECT_NE(TrafficOf({"--prompt-len", "8K", "--request-rate", "2", "--seed", "1"}).requests[9].arrival_us,
            poisson.requests[9].arrival_us);
}

TEST(SimulationFlags, RecordedTrace) {
  const std::string path = testing::TempDir() + "simulation_flags_test.jsonl";
  std::ofstream(path) << "{\"arrival_s\": 1, \"prompt_len\": 10, \"output_len\": 2}\n{\"prompt_len\": 0}\n";
  EXPECT_EQ(TrafficError({"--trace-in", path}),
            "--trace-in: " + path + ":2: \"prompt_len\": got 0, expected 1 to 67108864");
  std::ofstream(path) << "{\"arrival_s\": 1, \"prompt_len\": 10, \"output_len\": 2}\n";
  const Traffic traffic = TrafficOf({"--trace-in", path, "--num-clients", "2"});
  EXPECT_EQ(traffic.requests.at(0).arrival_us, 1'000'000);
  EXPECT_EQ(traffic.num_clients, 2);
  EXPECT_EQ(TrafficError({"--trace-in", path, "--prompt-len", "5"}),
            "got --trace-in and --prompt-len, expected one of them: the file has the requests");
  std::remove(path.c_str());
  EXPECT_TRUE(TrafficError({"--trace-in", path}).starts_with("--trace-in: "));
}

TEST(SimulationFlags, ErrorsNameTheFlag) {
  EXPECT_EQ(ResolveSimulation(*ParseFlags(Words{}, SimulateCommandTable())).status().message(),
            "--cost: got none, expected a cost model, for example deepseek-v3.1 or @FILE with a saved fit");
  EXPECT_TRUE(ResolveSimulation(Parse({}, "nope")).status().message().starts_with("--cost: got \"nope\""));
  EXPECT_EQ(SetupError({"--stage-shares", "1,0"}),
            "--stage-shares: got \"1,0\", expected numbers above 0, one for each stage: 1,1,1.25");
  EXPECT_EQ(SetupError({"--stage-shares", "1,1", "-pp", "4"}),
            "--stage-shares: got 2 shares, expected 4, one for each stage");
  EXPECT_EQ(SetupError({"--smooth-factor", "0"}), "--smooth-factor: got 0, expected more than 0, at most 1");
  EXPECT_TRUE(SetupError({"--chunk-policy", "best"}).starts_with("--chunk-policy: "));
  EXPECT_EQ(TrafficError({"--prompt-len", "5", "--prompt-len-mean", "6"}),
            "got --prompt-len and --prompt-len-mean, expected one of them");
  EXPECT_EQ(TrafficError({"--prompt-len-std", "5"}),
            "--prompt-len-std: expected --prompt-len-mean beside it");
  EXPECT_EQ(TrafficError({"--request-rate", "1", "--num-clients", "2"}),
            "got --request-rate and --num-clients, expected one of them");
  EXPECT_EQ(ParseLengths("8K,,2").status().message(),
            "--prompt-len: got \"8K,,2\", expected lengths of 1 to 67108864 tokens: 8192,32K");
  EXPECT_EQ(*ParseLengths("8K,32768,1k"), (std::vector<int32_t>{8192, 32768, 1000}));
}

// ---- The commands ------------------------------------------------------------------------

struct Ran {
  int exit_code = 0;
  std::string out;
};
Ran RunCommand(int (*command)(std::span<const std::string>), const Words& words) {
  testing::internal::CaptureStdout();
  Ran run;
  run.exit_code = command(words);
  run.out = testing::internal::GetCapturedStdout();
  return run;
}

// The form that scripts rely on.
TEST(Simulate, OnePromptAsJson) {
  const Ran run = RunCommand(
      RunSimulate,
      {"--cost", R"({"alpha":1.1268728934512e-4,"beta":2.86578596357e-9,"gamma":0,"floor":0.16,"d0":0.015})",
       "--pipeline-parallel-size", "2", "--prompt-len", "131072", "--max-num-batched-tokens", "32768",
       "--chunk-policy", "static,equal-latency,sglang,optimal", "--json"});
  EXPECT_EQ(run.exit_code, kExitDone);
  const Json reports = *ParseJson(run.out, "output");
  ASSERT_EQ(reports.size(), 4u);
  EXPECT_EQ(reports[0]["policy"], "static");
  EXPECT_EQ(reports[0]["chunks"], Json({32768, 32768, 32768, 32768}));
  EXPECT_NEAR(reports[0]["ttft_s"].get<double>(), 27.0, 0.01);
  EXPECT_NEAR(reports[0]["efficiency"].get<double>(), 0.729, 0.001);
  EXPECT_EQ(reports[1]["policy"], "equal-latency");
  EXPECT_NEAR(reports[1]["ttft_s"].get<double>(), 22.51, 0.05);
  EXPECT_EQ(reports[2]["policy"], "sglang");
  EXPECT_EQ(reports[3]["policy"], "optimal");
  EXPECT_LT(reports[3]["ttft_s"].get<double>(), 20.95);
  EXPECT_FALSE(reports[0].contains("requests_per_s"));
}

TEST(Simulate, WorkloadAndTrace) {
  const std::string path = testing::TempDir() + "simulate_test.json";
  const Words words = {"--cost",
                       "kimi-k2.5",
                       "-pp",
                       "4",
                       "--prompt-len",
                       "8K",
                       "--num-clients",
                       "2",
                       "--num-requests",
                       "6",
                       "--chunk-policy",
                       "static",
                       "--per-request",
                       "--trace-file",
                       path,
                       "--json"};
  const Ran run = RunCommand(RunSimulate, words);
  EXPECT_EQ(run.exit_code, kExitDone);
  const Json report = (*ParseJson(run.out, "output"))[0];
  EXPECT_EQ(report["requests"].size(), 6u);
  EXPECT_NEAR(report["requests_per_s"].get<double>() * 8192, report["input_tokens_per_s"].get<double>(),
              1e-6);
  const Json trace = *ReadJsonFile(path);
  EXPECT_GT(trace["traceEvents"].size(), 24u);
  std::remove(path.c_str());
}

TEST(Simulate, WrongUsage) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunCommand(RunSimulate, {"--cost", "kimi-k2.5", "8192"}).exit_code, kExitUsage);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: got the word \"8192\", expected flags only\n");
}

TEST(Plan, PrintsATableForEachLength) {
  const Ran run = RunCommand(RunPlan, {"--cost", "qwen3-235b", "--prompt-len", "4K,256K", "--chunk-policy",
                                       "static,optimal", "--json"});
  EXPECT_EQ(run.exit_code, kExitDone);
  const Json plans = *ParseJson(run.out, "output");
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_NEAR(plans[1]["policies"][0]["ttft_s"].get<double>(), 61.4, 0.05);
  EXPECT_LT(plans[1]["policies"][1]["ttft_s"].get<double>(), 52.8);
  const Ran text =
      RunCommand(RunPlan, {"--cost", "qwen3-235b", "--prompt-len", "256K", "--chunk-policy", "static"});
  EXPECT_NE(text.out.find("  262144  static            61.400       82.7%  8: 8 × 32768\n"),
            std::string::npos)
      << text.out;
}

}  // namespace
}  // namespace penstock
