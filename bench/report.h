// What the benchmarks share: timing, and one line of JSON for each case.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

struct BenchOptions {
  int threads = 1;
  bool smoke = false;        // one short run of each case: checks only that they work
  std::string filter;        // cases whose name contains it
  std::string isa = "auto";  // of MakeCpuKernels
  std::string commit = "";   // printed in every line
};

// --threads N --smoke --filter TEXT --isa NAME --commit ID. Ends the program with a usage line on anything
// else.
BenchOptions ParseBenchOptions(int argc, char** argv);

struct Timing {
  double median_s = 0, p10_s = 0, p90_s = 0;
};

// Times `run` again and again for about `seconds` (smoke: once), at least five times.
Timing TimeCase(const BenchOptions& options, double seconds, const std::function<void()>& run);

// Prints {"commit":…,"cpu":…,"threads":…,"case":…,"median":…,"p10":…,"p90":…,"unit":…, extra…}: rates, where
// `work` is done in one run, so p10 is that of the slowest tenth of the runs.
void ReportRate(const BenchOptions& options, const std::string& name, const Timing& timing, double work,
                const std::string& unit, const std::vector<std::pair<std::string, double>>& extra);

}  // namespace penstock
