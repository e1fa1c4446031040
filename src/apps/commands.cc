// SPDX-License-Identifier: Apache-2.0
#include "apps/commands.h"

#include <fmt/format.h>

#include <cstdio>

#include "apps/flag_help.h"
#include "base/log.h"

namespace penstock {
namespace {

Result<CommandSetup> Resolve(ParsedFlags flags) {
  ASSIGN_OR_RETURN(Environment env, ReadEnvironment());
  LogLevel level = LogLevel::kInfo;
  const std::string name = ResolveLogLevel(flags, env);
  if (!ParseLogLevel(name, &level)) {
    return InvalidArgument("VLLM_LOGGING_LEVEL: got \"{}\", expected debug, info, warning or error", name);
  }
  SetLogLevel(level);
  RETURN_IF_ERROR(CheckSupported(flags));
  ASSIGN_OR_RETURN(RunConfig run, ResolveRunConfig(flags, env));
  for (const std::string& warning : run.warnings) LogWarning("{}", warning);
  for (const std::string& line : NoOpLines(flags)) LogInfo("{}", line);
  return CommandSetup{std::move(flags), std::move(env), std::move(run)};
}

// --help and --version are answered here.
FlagsStart ParseOrAnswer(std::span<const std::string> args, const FlagTable& table, const CommandInfo& info) {
  Result<ParsedFlags> flags = ParseFlags(args, table);
  if (!flags.ok()) {
    fmt::print(stderr, "error: {}\nUsage: {}\n", flags.status().message(), info.usage);
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
  FlagsStart start = ParseOrAnswer(args, table, info);
  if (!start.flags) return {std::nullopt, start.exit_code};
  Result<CommandSetup> setup = Resolve(*std::move(start.flags));
  if (!setup.ok()) return {std::nullopt, Fail(setup.status())};
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
  return status.code() == StatusCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

}  // namespace penstock
