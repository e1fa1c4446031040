// The commands of `penstock`. Each takes the words after its name and returns the exit code: 0 done, 1
// failed, 2 wrong usage; errors are one line on stderr.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/environment.h"
#include "apps/flags.h"
#include "apps/job.h"
#include "apps/run_config.h"

namespace penstock {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

int RunServe(std::span<const std::string> args);
int RunComplete(std::span<const std::string> args);
int RunBenchLatency(std::span<const std::string> args);
int RunBenchKernels(std::span<const std::string> args);
int RunBenchLayouts(std::span<const std::string> args);
int RunCalibrate(std::span<const std::string> args);
int RunSimulate(std::span<const std::string> args);
int RunPlan(std::span<const std::string> args);
int RunQuantize(std::span<const std::string> args);

// What a command is called and does, for its help.
struct CommandInfo {
  std::string_view usage;
  std::string_view about;
};

// Flags and environment of a command that runs a model, resolved; warnings and the flags without effect are
// logged.
struct CommandSetup {
  ParsedFlags flags;
  Environment env;
  RunConfig run;
  std::unique_ptr<Job> job;  // null: this process is alone
};

// Parses the command line, and answers --help and --version itself. Of a job of several processes, those
// without the engine run their ranks here until it is over. Nothing to do any more where `exit_code` is set.
struct CommandStart {
  std::optional<CommandSetup> setup;
  int exit_code = kExitDone;
};
CommandStart StartCommand(std::span<const std::string> args, const FlagTable& table, const CommandInfo& info);

// The same for a command that serves no model: its flags. Warnings are logged.
struct FlagsStart {
  std::optional<ParsedFlags> flags;
  int exit_code = kExitDone;
};
FlagsStart StartWithoutModel(std::span<const std::string> args, const FlagTable& table,
                             const CommandInfo& info);
// And for one that has words beside its flags.
FlagsStart StartWithWords(std::span<const std::string> args, const FlagTable& table, const CommandInfo& info);

// Prints "error: …"; the exit code that goes with the status.
int Fail(const Status& status);
int ExitCodeOf(const Status& status);

}  // namespace penstock
