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

// The exit code of --help and --version, which are answered here (`speaks`) or by another process.
std::optional<int> Answer(const ParsedFlags& flags, const FlagTable& table, const CommandInfo& info,
                          bool speaks = true) {
  if (!flags.help() && !flags.version()) return std::nullopt;
  if (!speaks) return kExitDone;
  if (flags.help()) {
    fmt::print("{}", CommandHelp(info.usage, info.about, table, *flags.help()));
  } else {
    fmt::print("penstock {}\n", kPenstockVersion);
  }
  return kExitDone;
}

void PrintUsage(const CommandInfo& info) { fmt::print(stderr, "Usage: {}\n", info.usage); }

}  // namespace

CommandStart StartCommand(std::span<const std::string> args, const FlagTable& table,
                          const CommandInfo& info) {
  const Result<MpiLaunch> launch = DetectMpiLaunch([](const char* name) { return std::getenv(name); });
  if (!launch.ok()) return {std::nullopt, Fail(launch.status())};
  const bool speaks = launch->rank == 0;
  Result<ParsedFlags> flags = ParseFlags(args, table);
  if (flags.ok()) {
    if (const auto exit_code = Answer(*flags, table, info, speaks)) return {std::nullopt, *exit_code};
  }
  JobStart start{.launch = *launch, .command = std::string(info.usage)};
  start.ready = flags.status();
  CommandSetup setup{ParsedFlags(table), {}, {}, nullptr};
  if (flags.ok()) {
    start.command += FlagsText(*flags);
    Result<CommandSetup> resolved = Resolve(*std::move(flags), speaks);
    if (resolved.ok()) {
      setup = *std::move(resolved);
      start.connect_limit_us = static_cast<int64_t>(setup.env.hccl_connect_timeout_s * 1e6);
    }
    start.ready = resolved.status();
  }
  // Also with an error of this process: the others are to know of it.
  const Status joined = Job::Start(setup.run, start, &setup.job);
  if (!joined.ok()) {
    if (!speaks) return {std::nullopt, ExitCodeOf(joined)};
    const int exit_code = Fail(joined);
    if (!flags.ok()) PrintUsage(info);
    return {std::nullopt, exit_code};
  }
  if (setup.job != nullptr && !setup.job->leads()) return {std::nullopt, RunWorker(setup)};
  return {std::move(setup), kExitDone};
}

FlagsStart StartWithWords(std::span<const std::string> args, const FlagTable& table,
                          const CommandInfo& info) {
  Result<ParsedFlags> flags = ParseFlags(args, table);
  if (!flags.ok()) {
    Fail(flags.status());
    PrintUsage(info);
    return {std::nullopt, kExitUsage};
  }
  if (const auto exit_code = Answer(*flags, table, info)) return {std::nullopt, *exit_code};
  for (const std::string& warning : flags->warnings()) LogWarning("{}", warning);
  return {*std::move(flags), kExitDone};
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
