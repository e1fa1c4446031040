// `penstock serve`: an engine behind the HTTP server, until a signal ends it.
//
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <fstream>

#include "apps/chat_setup.h"
#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/flag_help.h"
#include "apps/planner_setup.h"
#include "apps/rank_report.h"
#include "apps/sampling_defaults.h"
#include "apps/serve_options.h"
#include "apps/shutdown_signals.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/server.h"

namespace penstock {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kFlushUs = 5 * kMicrosPerSecond;  // for answers that are done to reach their clients

constexpr CommandInfo kInfo = {"penstock serve MODEL [flags]",
                               "Serves the model in directory MODEL over HTTP, with OpenAI's API. Flags are "
                               "those of `vllm serve`. Ctrl-C or "
                               "SIGTERM lets running requests end; a second one ends at once."};

void LogBanner(const CommandSetup& setup, const EnginePlan& plan) {
  const RunConfig& run = setup.run;
  LogInfo("penstock {} serves {} ({})", kPenstockVersion, run.model_dir, plan.model.architecture);
  LogInfo("config: {}", DescribeConfig(run, plan).dump());
  LogInfo("{}", FormatPipeline(plan));
  LogInfo("Memory: weights {} + activations {} + KV cache {} = {}; {} is free",
          FormatBytes(plan.memory.weight_bytes), FormatBytes(plan.memory.activation_bytes),
          FormatBytes(plan.memory.kv_bytes), FormatBytes(plan.memory.total_bytes()),
          FormatBytes(plan.free_bytes));
}

// Lets live requests end within the time that the operator gives, then aborts the others.
void Drain(Server& server, Engine& engine, int64_t timeout_us) {
  server.BeginDrain();
  const bool idle = server.WaitIdle(timeout_us);
  if (!idle) LogWarning("Requests that did not end in time are aborted.");
  engine.Drain(0);
  if (!idle) server.WaitIdle(kFlushUs);
  server.Stop();
}

Status WriteTrace(const std::string& path, const std::string& trace) {
  std::ofstream file(path);
  file << trace;
  file.close();
  if (!file) return Internal("--trace: {} cannot be written", path);
  LogInfo("The timeline is in {}", path);
  return OkStatus();
}

Status Serve(const CommandSetup& setup, ShutdownSignals& signals) {
  const RunConfig& run = setup.run;
  ASSIGN_OR_RETURN(ServerOptions options, MakeServerOptions(setup));
  ASSIGN_OR_RETURN(EnginePlan plan, PlanEngine(run, setup.job.get()));
  LogBanner(setup, plan);
  options.server_info = DescribeConfig(run, plan);
  if (!run.trace_file.empty()) {
    options.save_trace = [path = run.trace_file](const std::string& trace) {
      const Status status = WriteTrace(path, trace);
      if (!status.ok()) LogError("{}", status.message());
    };
  }
  ASSIGN_OR_RETURN(const RunningEngine running, StartEngine(run, std::move(plan)));
  options.rank_metrics = [&running] { return ReadRankMetrics(running); };
  LogPlanTable(run, running.plan, running.cost.model);
  const std::string template_flag =
      setup.flags.Given("chat-template") ? setup.flags.String("chat-template") : "";
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ChatTemplate> chat_template,
      MakeChatTemplate(run.tokenizer_dir, template_flag,
                       setup.flags.JsonValue("default-chat-template-kwargs"), *running.tokenizer));
  if (!chat_template) {
    LogWarning("{} has no chat template: /v1/chat/completions is refused; give one with --chat-template",
               run.tokenizer_dir);
  }
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Server> server,
      Server::Start(std::move(options), *running.engine, *running.tokenizer, chat_template.get()));
  signals.BeginServing();
  LogInfo("Application startup complete.");

  const int64_t timeout_s = setup.flags.Int("shutdown-timeout");
  signals.Wait();
  if (setup.job != nullptr) setup.job->StayIfLost();
  LogInfo("Shutting down: running requests have {} s to end; once more ends at once.", timeout_s);
  Drain(*server, *running.engine, timeout_s * kMicrosPerSecond);
  if (setup.job != nullptr) setup.job->StayIfLost();
  RETURN_IF_ERROR(RecordExpertLoad(run, running));
  SaveLearntCost(running.cost, running.engine->Stats());
  // Empty if /stop_profile has ended it.
  const std::string trace = run.trace_file.empty() ? "" : running.engine->StopTrace();
  if (!trace.empty()) RETURN_IF_ERROR(WriteTrace(run.trace_file, trace));
  LogInfo("Finished.");
  return OkStatus();
}

}  // namespace

int RunServe(std::span<const std::string> args) {
  const CommandStart start = StartCommand(args, ServeTable(), kInfo);
  if (!start.setup) return start.exit_code;
  ShutdownSignals signals;
  const Status status = Serve(*start.setup, signals);
  if (status.ok() && start.setup->job != nullptr) start.setup->job->Done();
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
