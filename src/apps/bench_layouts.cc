// `penstock bench layouts`: the ways to share the work among a number of ranks, measured one after the other
// on the same cores with the same requests.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "apps/bench_workload.h"
#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/flag_value.h"
#include "apps/layout_list.h"
#include "apps/layout_report.h"
#include "base/log.h"
#include "plan/parse_layout.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {
    "penstock bench layouts MODEL --ranks N [flags]",
    "Measures how ranks share the work best: loads the model in each layout in turn (--layouts, else all "
    "that "
    "N ranks can have) and sends the same requests: times to first token, and prompt tokens per second and "
    "rank."};

struct LayoutBench {
  std::vector<ParallelLayout> layouts;
  bool chosen = false;  // by the operator
  std::vector<int32_t> input_lens;
  BenchWorkload workload;
};

// Names may stand in several words, or in one with commas.
std::vector<std::string> SplitNames(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  for (const std::string& word : words) {
    std::istringstream parts(word);
    for (std::string name; std::getline(parts, name, ',');) names.push_back(name);
  }
  return names;
}

Result<LayoutBench> ReadBench(const CommandSetup& setup) {
  const ParsedFlags& flags = setup.flags;
  LayoutBench bench;
  const auto num_ranks = static_cast<int32_t>(flags.Int("ranks"));
  bench.chosen = flags.Given("layouts");
  for (const std::string& name : SplitNames(flags.List("layouts"))) {
    ASSIGN_OR_RETURN(const ParallelLayout layout, ParseLayout(name));
    if (layout.world_size() != num_ranks) {
      return InvalidArgument("--layouts: {} has {} ranks, expected --ranks {}", name, layout.world_size(),
                             num_ranks);
    }
    bench.layouts.push_back(layout);
  }
  if (!bench.chosen) bench.layouts = AllLayouts(num_ranks, setup.run.layout.expert_parallel);
  for (const std::string& text : flags.List("input-lens")) {
    const Result<int64_t> len = ParseSize(text);
    if (!len.ok()) return len.status().WithContext("--input-lens");
    if (*len < 1 || *len > 1 << 24) return InvalidArgument("--input-lens: got {}, expected 1 to 16M", text);
    bench.input_lens.push_back(static_cast<int32_t>(*len));
  }
  bench.workload.num_requests = static_cast<int32_t>(flags.Int("num-requests"));
  bench.workload.concurrency = static_cast<int32_t>(flags.Int("concurrency"));
  bench.workload.prefix_hit = flags.Float("prefix-hit");
  return bench;
}

// The model in one layout; its rows are added.
Status MeasureLayout(const RunConfig& run, EnginePlan plan, const LayoutBench& bench,
                     LayoutBenchReport* report) {
  ASSIGN_OR_RETURN(const RunningEngine running, StartEngine(run, std::move(plan)));
  for (const int32_t input_len : bench.input_lens) {
    BenchWorkload workload = bench.workload;
    workload.input_len = input_len;
    if (input_len + workload.output_len > running.plan.options.max_model_len) {
      return InvalidArgument("--input-lens: got {}, expected less than --max-model-len {}", input_len,
                             running.plan.options.max_model_len);
    }
    const std::vector<Request> requests =
        MakeWorkload(workload, running.plan.model.vocab_size, running.plan.options.block_size, /*seed=*/0);
    running.engine->ResetPrefixCache();
    ASSIGN_OR_RETURN(WorkloadSample sample,
                     RunWorkload(*running.engine, requests, workload.concurrency, workload.prefix_hit > 0));
    report->rows.push_back({.layout = LayoutName(run.layout),
                            .num_ranks = run.layout.world_size(),
                            .input_len = input_len,
                            .ttfts_s = std::move(sample.ttfts_s),
                            .seconds = sample.seconds});
  }
  return OkStatus();
}

Status Print(const ParsedFlags& flags, const LayoutBenchReport& report) {
  const std::string json = LayoutJson(report).dump(2);
  fmt::print("{}", flags.Bool("json") ? json + "\n" : LayoutText(report));
  if (!flags.Given("output-json")) return OkStatus();
  const std::string path = flags.String("output-json");
  std::ofstream file(path);
  file << json << "\n";
  file.close();
  return file ? OkStatus() : Internal("--output-json: {} cannot be written", path);
}

Status BenchLayouts(CommandSetup& setup) {
  if (setup.job != nullptr) {
    return Unimplemented("bench layouts: got {} processes, expected one, whose threads are the ranks",
                         setup.job->map().num_processes);
  }
  ASSIGN_OR_RETURN(const LayoutBench bench, ReadBench(setup));
  RunConfig& run = setup.run;
  run.enable_prefix_caching = bench.workload.prefix_hit > 0;
  run.log_stats_interval_s = 0;
  LayoutBenchReport report{.model = run.model_dir,
                           .concurrency = bench.workload.concurrency,
                           .prefix_hit = bench.workload.prefix_hit,
                           .rows = {}};
  for (const ParallelLayout& layout : bench.layouts) {
    run.layout = layout;
    Result<EnginePlan> plan = PlanEngine(run);
    if (!plan.ok() && !bench.chosen && bench.layouts.size() > 1) {
      LogWarning("{} is left out: {}", LayoutName(layout), plan.status().message());
      continue;
    }
    if (!plan.ok()) return plan.status().WithContext(LayoutName(layout));
    LogInfo("{}", FormatPipeline(*plan));
    RETURN_IF_ERROR(MeasureLayout(run, *std::move(plan), bench, &report));
  }
  if (report.rows.empty()) return InvalidArgument("no layout of {} ranks can run", setup.flags.Int("ranks"));
  return Print(setup.flags, report);
}

}  // namespace

int RunBenchLayouts(std::span<const std::string> args) {
  CommandStart start = StartCommand(args, BenchLayoutsTable(), kInfo);
  if (!start.setup) return start.exit_code;
  const Status status = BenchLayouts(*start.setup);
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
