// `penstock calibrate`: measures a pipeline thoroughly and keeps the result: the grid, then the recipe by
// which vLLM-Ascend is calibrated with a benchmark: requests of full length with differing random data, one
// output token, one at a time.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "apps/bench_iteration.h"
#include "apps/calibration_report.h"
#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/recording_executor.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {
    "penstock calibrate MODEL [flags]",
    "Measures how fast each stage of the pipeline is, with the model in directory MODEL, prints the cost "
    "model and "
    "its error, and keeps it for `serve`: a grid of chunks and histories, then requests of full length with "
    "random data, one at a time."};
constexpr double kDefaultSeconds = 60;
constexpr double kMicrosPerSecond = 1e6;

Result<BenchOptions> RecipeOptions(const ParsedFlags& flags, int32_t max_model_len) {
  BenchOptions options{.input_len = max_model_len - 1, .output_len = 1, .batch_size = 1, .detokenize = false};
  if (flags.Given("input-len")) options.input_len = static_cast<int32_t>(flags.Int("input-len"));
  RETURN_IF_ERROR(CheckBenchLength(options, max_model_len));
  return options;
}

// The recipe's requests, over an engine that goes on learning; the steps are recorded.
Result<std::vector<std::vector<CostSample>>> RunRecipe(const CommandSetup& setup, const LoadedModel& model,
                                                       const BenchOptions& options, PipelineCost* cost,
                                                       CalibrationReport* report) {
  RecordingExecutor executor(*model.pipeline);
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   MakeEngineOver(setup.run, model, executor, setup.run.chunk_policies[0], *cost));
  const int64_t num_requests = setup.flags.Int("num-requests");
  for (int64_t i = 0; i < num_requests; ++i) {
    const auto requests =
        MakeBenchRequests(options, model.plan.model.vocab_size, static_cast<uint32_t>(i + 1));
    ASSIGN_OR_RETURN(const LatencySample sample, RunBenchIteration(*engine, requests));
    report->ttfts_s.push_back(sample.first_token_s.front());
    LogInfo("Request {} of {}: {} tokens in {} chunks, first token after {:.2f} s", i + 1, num_requests,
            options.input_len, sample.chunks.size(), sample.first_token_s.front());
  }
  const EngineStats stats = engine->Stats();
  report->hop_gap_us = stats.hop_gap_us;
  report->recent = stats.cost_error;
  report->cost = stats.measured_cost.known() ? stats.measured_cost : cost->model;
  SaveLearntCost(*cost, stats, /*fewest_steps=*/1);
  return executor.TakeSamples();
}

Status Calibrate(CommandSetup& setup) {
  RunConfig& run = setup.run;
  run.enable_prefix_caching = false;
  run.log_stats_interval_s = 0;
  run.calibration = CalibrationMode::kAlways;
  if (!setup.flags.Given("calibration-seconds")) {
    run.calibration_budget_us = static_cast<int64_t>(kDefaultSeconds * kMicrosPerSecond);
  }
  ASSIGN_OR_RETURN(EnginePlan plan, PlanEngine(run, setup.job.get()));
  ASSIGN_OR_RETURN(const BenchOptions options, RecipeOptions(setup.flags, plan.options.max_model_len));
  LogInfo("{}", FormatPipeline(plan));
  ASSIGN_OR_RETURN(const LoadedModel model, LoadModelForEngine(run, std::move(plan)));
  ASSIGN_OR_RETURN(PipelineCost cost, ObtainPipelineCost(run, model.plan, *model.pipeline));
  if (!cost.model.known()) return Internal("the pipeline could not be calibrated");

  CalibrationReport report;
  report.path = cost.path;
  report.grid = cost.quality;
  report.grid_seconds = cost.seconds;
  ASSIGN_OR_RETURN(const auto samples, RunRecipe(setup, model, options, &cost, &report));
  report.unseen = WorstFit(cost.model, samples);
  fmt::print("{}",
             setup.flags.Bool("json") ? CalibrationJson(report).dump(2) + "\n" : CalibrationText(report));
  return OkStatus();
}

}  // namespace

int RunCalibrate(std::span<const std::string> args) {
  CommandStart start = StartCommand(args, CalibrateTable(), kInfo);
  if (!start.setup) return start.exit_code;
  const Status status = Calibrate(*start.setup);
  if (status.ok() && start.setup->job != nullptr) start.setup->job->Done();
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
