// `penstock bench latency`: how long one batch of requests takes, with the output of `vllm bench latency`
// and, besides, what a pipeline is judged by: time to first token, and the share of time in which each stage
// worked.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <random>

#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/latency_report.h"
#include "apps/output_queue.h"
#include "base/clock.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {"penstock bench latency MODEL [flags]",
                               "Measures the latency of one batch of requests with random prompts, in this "
                               "process. Prefix caching is off unless "
                               "--enable-prefix-caching is given."};
constexpr double kMicrosPerSecond = 1e6;
constexpr int32_t kPromptVocab = 10000;  // as vLLM: ids that every model has

struct BenchOptions {
  int32_t input_len = 0;
  int32_t output_len = 0;
  int32_t batch_size = 0;
  bool detokenize = true;
};

std::vector<Request> MakeRequests(const BenchOptions& options, int32_t vocab_size) {
  std::mt19937 random(0);
  std::uniform_int_distribution<TokenId> draw(0, std::min(kPromptVocab, vocab_size) - 1);
  std::vector<Request> requests(options.batch_size);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].request_id = fmt::format("bench-{}", i);
    requests[i].prompt_ids.resize(options.input_len);
    for (TokenId& id : requests[i].prompt_ids) id = draw(random);
    requests[i].sampling.ignore_eos = true;
    requests[i].sampling.max_tokens = options.output_len;
    requests[i].sampling.seed = static_cast<int64_t>(i);
    requests[i].detokenize = options.detokenize;
  }
  return requests;
}

// One iteration: all requests at once, until the last one has ended.
Result<LatencySample> RunOnce(Engine& engine, const std::vector<Request>& requests) {
  const std::vector<double> busy_before = engine.Stats().stage_busy_seconds;
  const int64_t begin_us = NowUs();
  OutputQueue outputs;
  for (size_t i = 0; i < requests.size(); ++i) RETURN_IF_ERROR(outputs.Submit(engine, requests[i], i));
  LatencySample sample;
  for (size_t num_live = requests.size(); num_live > 0;) {
    const RequestOutput output = std::move(outputs.Next().output);
    if (output.finish_reason == FinishReason::kNone) continue;
    if (output.finish_reason == FinishReason::kError) return output.error;
    sample.first_token_s.push_back(static_cast<double>(output.times.first_token_us - begin_us) /
                                   kMicrosPerSecond);
    --num_live;
  }
  sample.latency_s = static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond;
  const std::vector<double> busy_after = engine.Stats().stage_busy_seconds;
  for (size_t stage = 0; stage < busy_after.size(); ++stage) {
    const double before = stage < busy_before.size() ? busy_before[stage] : 0;
    sample.stage_busy_s.push_back(busy_after[stage] - before);
  }
  return sample;
}

Status CheckLength(const BenchOptions& options, int32_t max_model_len) {
  if (int64_t{options.input_len} + options.output_len <= max_model_len) return OkStatus();
  return InvalidArgument(
      "--input-len {} and --output-len {} are {} tokens together, expected at most --max-model-len {}",
      options.input_len, options.output_len, int64_t{options.input_len} + options.output_len, max_model_len);
}

Status Report(const CommandSetup& setup, const LatencyReport& report) {
  const std::string json = LatencyJson(report).dump(2);
  fmt::print("{}", setup.flags.Bool("json") ? json + "\n" : LatencyText(report));
  if (!setup.flags.Given("output-json")) return OkStatus();
  const std::string path = setup.flags.String("output-json");
  std::ofstream file(path);
  file << json << "\n";
  file.close();
  return file ? OkStatus() : Internal("--output-json: {} cannot be written", path);
}

Status BenchLatency(CommandSetup setup) {
  const ParsedFlags& flags = setup.flags;
  if (!flags.Given("enable-prefix-caching")) setup.run.enable_prefix_caching = false;
  setup.run.log_stats_interval_s = 0;
  BenchOptions options;
  options.input_len = static_cast<int32_t>(flags.Int("input-len"));
  options.output_len = static_cast<int32_t>(flags.Int("output-len"));
  options.batch_size = static_cast<int32_t>(flags.Int("batch-size"));
  options.detokenize = !flags.Bool("disable-detokenize");

  ASSIGN_OR_RETURN(EnginePlan plan, PlanEngine(setup.run));
  RETURN_IF_ERROR(CheckLength(options, plan.options.max_model_len));
  LogInfo("Pipeline of {}: {}", setup.run.num_stages, FormatStages(plan));
  ASSIGN_OR_RETURN(const RunningEngine running, StartEngine(setup.run, std::move(plan)));
  const std::vector<Request> requests = MakeRequests(options, running.plan.model.vocab_size);

  LatencyReport report;
  report.model = setup.run.model_dir;
  report.input_len = options.input_len;
  report.output_len = options.output_len;
  report.batch_size = options.batch_size;
  const int64_t num_warmup = flags.Int("num-iters-warmup");
  const int64_t num_iters = flags.Int("num-iters");
  LogInfo("{} iterations to warm up, then {}", num_warmup, num_iters);
  for (int64_t i = 0; i < num_warmup + num_iters; ++i) {
    ASSIGN_OR_RETURN(LatencySample sample, RunOnce(*running.engine, requests));
    if (i >= num_warmup) report.samples.push_back(std::move(sample));
  }
  if (!setup.run.trace_file.empty()) {
    std::ofstream file(setup.run.trace_file);
    file << running.engine->StopTrace();
    if (!file.flush()) return Internal("--trace-file: {} cannot be written", setup.run.trace_file);
  }
  return Report(setup, report);
}

}  // namespace

int RunBenchLatency(std::span<const std::string> args) {
  CommandStart start = StartCommand(args, BenchLatencyTable(), kInfo);
  if (!start.setup) return start.exit_code;
  const Status status = BenchLatency(*std::move(start.setup));
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
