// `penstock bench latency`: how long one batch of requests takes, with the output of `vllm bench latency`
// and, besides, what a pipeline is judged by: time to first token, and the share of time in which each stage
// worked. With several chunk policies: these, side by side.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <fstream>

#include "apps/bench_iteration.h"
#include "apps/bench_policies.h"
#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/latency_report.h"
#include "apps/profile_report.h"
#include "apps/rank_report.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {"penstock bench latency MODEL [flags]",
                               "Measures the latency of one batch of requests with random prompts, in this "
                               "process. Prefix caching is off "
                               "unless --enable-prefix-caching is given. With several policies in "
                               "--chunk-policy it compares them in turn: "
                               "times to first token of one prompt (--batch-size 1, --output-len 1 and "
                               "--num-iters-warmup 2 unless given)."};

int64_t IntOr(const ParsedFlags& flags, std::string_view name, bool use_default, int64_t value) {
  return use_default || flags.Given(name) ? flags.Int(name) : value;
}

Status Print(const ParsedFlags& flags, const std::string& text, const Json& json) {
  const std::string dumped = json.dump(2);
  fmt::print("{}", flags.Bool("json") ? dumped + "\n" : text);
  if (!flags.Given("output-json")) return OkStatus();
  const std::string path = flags.String("output-json");
  std::ofstream file(path);
  file << dumped << "\n";
  file.close();
  return file ? OkStatus() : Internal("--output-json: {} cannot be written", path);
}

Result<BenchOptions> ReadOptions(const CommandSetup& setup, bool is_comparison) {
  const ParsedFlags& flags = setup.flags;
  BenchOptions options;
  options.input_len = static_cast<int32_t>(flags.Int("input-len"));
  options.output_len = static_cast<int32_t>(IntOr(flags, "output-len", !is_comparison, 1));
  options.batch_size = static_cast<int32_t>(IntOr(flags, "batch-size", !is_comparison, 1));
  options.detokenize = !flags.Bool("disable-detokenize");
  if (!is_comparison) return options;
  if (setup.run.profile_ops) {
    return InvalidArgument("--profile: got it with {} chunk policies, expected one",
                           setup.run.chunk_policies.size());
  }
  if (options.batch_size != 1) {
    return InvalidArgument("--batch-size: got {} with {} chunk policies, expected 1", options.batch_size,
                           setup.run.chunk_policies.size());
  }
  if (setup.run.enable_prefix_caching) {
    return InvalidArgument("--enable-prefix-caching: got it with {} chunk policies, which share one cache",
                           setup.run.chunk_policies.size());
  }
  return options;
}

Status WriteTimeline(const std::string& path, Engine& engine) {
  if (path.empty()) return OkStatus();
  std::ofstream file(path);
  file << engine.StopTrace();
  return file.flush() ? OkStatus() : Internal("--trace-file: {} cannot be written", path);
}

Status ComparePolicies(const CommandSetup& setup, EnginePlan plan, const BenchOptions& options) {
  const int64_t num_warmup = IntOr(setup.flags, "num-iters-warmup", false, 2);
  const int64_t num_iters = setup.flags.Int("num-iters");
  ASSIGN_OR_RETURN(const LoadedModel model, LoadModelForEngine(setup.run, std::move(plan)));
  ASSIGN_OR_RETURN(const PipelineCost cost, ObtainPipelineCost(setup.run, model.plan, *model.pipeline));
  LogInfo("{} policies in turn: {} iterations to warm up, then {}", setup.run.chunk_policies.size(),
          num_warmup, num_iters);
  ASSIGN_OR_RETURN(const PolicyReport report,
                   MeasurePolicies(setup.run, model, cost, options, num_warmup, num_iters));
  RETURN_IF_ERROR(RecordExpertLoad(setup.run, model));
  return Print(setup.flags, PolicyText(report), PolicyJson(report));
}

// What the profiles hold since they were last taken; nothing where there are none.
std::vector<StageProfile> TakeProfiles(const RunningEngine& running) {
  std::vector<StageProfile> stages;
  if (running.profiles.empty()) return stages;
  const std::vector<Peaks> peaks = MeasureStagePeaks(running.plan);
  for (size_t i = 0; i < running.profiles.size(); ++i) {
    stages.push_back({FormatStage(running.plan, i), peaks[i], running.profiles[i]->Take()});
  }
  return stages;
}

Status MeasureLatency(const CommandSetup& setup, EnginePlan plan, const BenchOptions& options) {
  ASSIGN_OR_RETURN(const RunningEngine running, StartEngine(setup.run, std::move(plan)));
  const std::vector<Request> requests = MakeBenchRequests(options, running.plan.model.vocab_size, 0);
  LatencyReport report;
  report.model = setup.run.model_dir;
  report.input_len = options.input_len;
  report.output_len = options.output_len;
  report.batch_size = options.batch_size;
  const int64_t num_warmup = setup.flags.Int("num-iters-warmup");
  const int64_t num_iters = setup.flags.Int("num-iters");
  LogInfo("{} iterations to warm up, then {}", num_warmup, num_iters);
  for (int64_t i = 0; i < num_warmup + num_iters; ++i) {
    if (i == num_warmup) {
      for (const auto& profile : running.profiles) profile->Take();
    }
    ASSIGN_OR_RETURN(LatencySample sample, RunBenchIteration(*running.engine, requests));
    if (i >= num_warmup) report.samples.push_back(std::move(sample));
  }
  RETURN_IF_ERROR(RecordExpertLoad(setup.run, running));
  RETURN_IF_ERROR(WriteTimeline(setup.run.trace_file, *running.engine));
  const std::vector<StageProfile> profiles = TakeProfiles(running);
  Json json = LatencyJson(report);
  if (!profiles.empty()) json["profile"] = ProfileJson(profiles);
  return Print(setup.flags, LatencyText(report) + ProfileText(profiles), json);
}

Status BenchLatency(CommandSetup& setup) {
  if (!setup.flags.Given("enable-prefix-caching")) setup.run.enable_prefix_caching = false;
  setup.run.log_stats_interval_s = 0;
  setup.run.profile_ops = setup.flags.Bool("profile");
  const bool is_comparison = setup.run.chunk_policies.size() > 1;
  ASSIGN_OR_RETURN(const BenchOptions options, ReadOptions(setup, is_comparison));
  ASSIGN_OR_RETURN(EnginePlan plan, PlanEngine(setup.run, setup.job.get()));
  RETURN_IF_ERROR(CheckBenchLength(options, plan.options.max_model_len));
  LogInfo("{}", FormatPipeline(plan));
  return is_comparison ? ComparePolicies(setup, std::move(plan), options)
                       : MeasureLatency(setup, std::move(plan), options);
}

}  // namespace

int RunBenchLatency(std::span<const std::string> args) {
  CommandStart start = StartCommand(args, BenchLatencyTable(), kInfo);
  if (!start.setup) return start.exit_code;
  const Status status = BenchLatency(*start.setup);
  if (status.ok() && start.setup->job != nullptr) start.setup->job->Done();
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
