// `penstock bench kernels`: every operation and shape beside the peak of this machine, measured first.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <vector>

#include "apps/commands.h"
#include "apps/kernel_bench.h"
#include "apps/kernel_bench_report.h"
#include "base/affinity.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {
    "penstock bench kernels [flags]",
    "Measures every operation of the kernels at the shapes of small models, beside "
    "the peak rates of this machine, which are measured first. Runs no model."};

std::string CpuModel() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

Status BenchKernels(const ParsedFlags& flags) {
  const std::vector<int> cores = UsableCores();
  const int num_threads =
      flags.Given("threads") ? static_cast<int>(flags.Int("threads")) : static_cast<int>(cores.size());
  const KernelBenchOptions options{.quick = flags.Bool("quick"),
                                   .only = flags.Given("only") ? flags.String("only") : ""};
  const bool json = flags.Bool("json");
  ThreadTeam team(num_threads, cores);
  PinThisThread(std::span(cores).first(1));
  const std::string isa = flags.String("kernel-isa");
  const std::unique_ptr<Kernels> kernels = MakeCpuKernels(team, isa);
  if (kernels == nullptr) {
    return InvalidArgument("--kernel-isa: got \"{}\", expected auto, {}", isa,
                           fmt::join(UsableCpuIsas(), ", "));
  }
  const Peaks peaks = MeasurePeaks(team, kernels->name());
  if (!json) {
    fmt::print("{}{}", KernelBenchHeading(CpuModel(), kernels->name(), num_threads, peaks),
               KernelBenchColumns());
  }
  std::vector<KernelBenchRow> rows;
  const std::function<void(const KernelBenchRow&)> on_row = [&](const KernelBenchRow& row) {
    rows.push_back(row);
    if (json) return;
    fmt::print("{}", KernelBenchLine(row));
    std::fflush(stdout);
  };
  KernelBench(*kernels, peaks, options, on_row).Run();
  if (json) fmt::print("{}\n", KernelBenchJson(rows).dump(1));
  return OkStatus();
}

}  // namespace

int RunBenchKernels(std::span<const std::string> args) {
  const FlagsStart start = StartWithoutModel(args, BenchKernelsTable(), kInfo);
  if (!start.flags) return start.exit_code;
  const Status status = BenchKernels(*start.flags);
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
