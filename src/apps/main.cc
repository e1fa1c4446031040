// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/flag_help.h"
#include "apps/flag_markdown.h"

int main(int argc, char** argv) {
  using namespace penstock;
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::span<const std::string> all(words);
  const std::string command = words.empty() ? "" : words[0];
  if (command == "serve") return RunServe(all.subspan(1));
  if (command == "complete") return RunComplete(all.subspan(1));
  if (command == "bench" && words.size() > 1 && words[1] == "latency") return RunBenchLatency(all.subspan(2));
  if (command == "bench" && words.size() > 1 && words[1] == "kernels") return RunBenchKernels(all.subspan(2));
  if (command == "bench" && words.size() > 1 && words[1] == "layouts") return RunBenchLayouts(all.subspan(2));
  if (command == "calibrate") return RunCalibrate(all.subspan(1));
  if (command == "simulate") return RunSimulate(all.subspan(1));
  if (command == "plan") return RunPlan(all.subspan(1));
  if (command == "quantize") return RunQuantize(all.subspan(1));
  if (command == "version" || command == "--version" || command == "-v") {
    fmt::print("penstock {}\n", kPenstockVersion);
    return kExitDone;
  }
  if (command == "help" || command == "--help" || command == "-h") {
    const bool markdown = words.size() == 2 && words[1] == "markdown";  // for docs/cli.md
    fmt::print("{}", markdown ? FlagsMarkdown() : MainHelp());
    return kExitDone;
  }
  if (command.empty()) {
    fmt::print(stderr, "{}", MainHelp());
  } else if (command == "bench") {
    fmt::print(stderr, "error: bench: got {}, expected latency, kernels or layouts\n",
               words.size() > 1 ? words[1] : "nothing");
  } else {
    fmt::print(
        stderr,
        "error: unknown command {}, expected serve, complete, bench, calibrate, simulate, plan, quantize "
        "or version\n",
        command);
  }
  return kExitUsage;
}
