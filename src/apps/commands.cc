// SPDX-License-Identifier: Apache-2.0
#include "apps/commands.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "apps/flag_help.h"
#include "apps/worker.h"
#include "base/log.h"

namespace penstock {
namespace {

// `speaks`: for the job. The others say only what is wrong with them.
Result<CommandSetup> Resolve(ParsedFlags flags, bool speaks) {
  ASSIGN_OR_RETURN(Environment env, ReadEnvironment());
  LogLevel level = LogLevel::kInfo;
  const std::string name = speaks ? ResolveLogLevel(flags, env) : "warning";
  if (!ParseLogLevel(name, &level)) {
    return InvalidArgument("VLLM_LOGGING_LEVEL: got \"{}\", expected debug, info, warning or error", name);
  }
  SetLogLevel(level);
  RETURN_IF_ERROR(CheckSupported(flags));
  ASSIGN_OR_RETURN(RunConfig run, ResolveRunConfig(flags, env));
  for (const std::string& warning : run.warnings) {
    if (speaks) LogWarning("{}", warning);
  }
  for (const std::string& line : NoOpLines(flags)) LogInfo("{}", line);
  return CommandSetup{std::move(flags), std::move(env), std::move(run), nullptr};
}

// --help and --version are answered here.
FlagsStart ParseOrAnswer(std::span<const std::string> args, const FlagTable& table, const CommandInfo& info,
                         bool speaks = true) {
  Result<ParsedFlags> flags = ParseFlags(args, table);
  if (!flags.ok()) {
    if (speaks) fmt::print(stderr, "error: {}\nUsage: {}\n", flags.status().message(), info.usage);
    return {std::nullopt, kExitUsage};
  }
  if (flags->help()) {
    fmt::print("{}", CommandHelp(info.usage, info.about, table, *flags->help()));
    return {std::nullopt, kExitDone};
  }
  if (flags->version()) {
    fmt::print("penstock {}\n", kPenstockVersion);
    return {std::nullopt, kExitDone};
  }
  return {*std::move(flags), kExitDone};
}

}  // namespace

CommandStart StartCommand(std::span<const std::string> args, const FlagTable& table,
                          const CommandInfo& info) {
  const Result<MpiLaunch> launch = DetectMpiLaunch([](const char* name) { return std::getenv(name); });
  if (!launch.ok()) return {std::nullopt, Fail(launch.status())};
  const bool speaks = launch->rank == 0;
  const auto fail = [&](const Status& status) -> CommandStart {
    return {std::nullopt, speaks ? Fail(status) : ExitCodeOf(status)};
  };
  FlagsStart start = ParseOrAnswer(args, table, info, speaks);
  if (!start.flags) return {std::nullopt, start.exit_code};
  Result<CommandSetup> setup = Resolve(*std::move(start.flags), speaks);
  if (!setup.ok()) return fail(setup.status());
  const auto connect_limit_us = static_cast<int64_t>(setup->env.hccl_connect_timeout_s * 1e6);
  const Status joined = Job::Start(setup->run, *launch, connect_limit_us, &setup->job);
  if (!joined.ok()) return fail(joined);
  if (setup->job != nullptr && !setup->job->leads()) return {std::nullopt, RunWorker(*setup)};
  return {*std::move(setup), kExitDone};
}

FlagsStart StartWithWords(std::span<const std::string> args, const FlagTable& table,
                          const CommandInfo& info) {
  FlagsStart start = ParseOrAnswer(args, table, info);
  if (!start.flags) return start;
  for (const std::string& warning : start.flags->warnings()) LogWarning("{}", warning);
  return start;
}

FlagsStart StartWithoutModel(std::span<const std::string> args, const FlagTable& table,
                             const CommandInfo& info) {
  FlagsStart start = StartWithWords(args, table, info);
  if (!start.flags) return start;
  if (const std::vector<std::string>& words = start.flags->positionals(); !words.empty())
    return {std::nullopt, Fail(InvalidArgument("got the word \"{}\", expected flags only", words[0]))};
  return start;
}

int Fail(const Status& status) {
  fmt::print(stderr, "error: {}\n", status.message());
  return ExitCodeOf(status);
}

int ExitCodeOf(const Status& status) {
  return status.code() == StatusCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

}  // namespace penstock
