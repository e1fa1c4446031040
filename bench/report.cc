// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "base/json.h"

namespace penstock {
namespace {

[[noreturn]] void Usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--threads N] [--smoke] [--filter TEXT] [--isa NAME] [--commit ID]\n",
               program);
  std::exit(2);
}

std::string CpuModel() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Percentile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

}  // namespace

BenchOptions ParseBenchOptions(int argc, char** argv) {
  BenchOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--smoke") {
      options.smoke = true;
      continue;
    }
    if (i + 1 == argc) Usage(argv[0]);
    const char* value = argv[++i];
    if (flag == "--threads")
      options.threads = std::max(1, std::atoi(value));
    else if (flag == "--filter")
      options.filter = value;
    else if (flag == "--isa")
      options.isa = value;
    else if (flag == "--commit")
      options.commit = value;
    else
      Usage(argv[0]);
  }
  return options;
}

Timing TimeCase(const BenchOptions& options, double seconds, const std::function<void()>& run) {
  constexpr size_t kMinRuns = 5;
  std::vector<double> times;
  run();  // warm-up
  const double end = NowSeconds() + seconds;
  do {
    const double begin = NowSeconds();
    run();
    times.push_back(std::max(1e-9, NowSeconds() - begin));
  } while (!options.smoke && (NowSeconds() < end || times.size() < kMinRuns));
  std::sort(times.begin(), times.end());
  return {Percentile(times, 0.5), Percentile(times, 0.1), Percentile(times, 0.9)};
}

void ReportRate(const BenchOptions& options, const std::string& name, const Timing& timing, double work,
                const std::string& unit, const std::vector<std::pair<std::string, double>>& extra) {
  static const std::string cpu = CpuModel();
  Json line = {{"commit", options.commit}, {"cpu", cpu}, {"threads", options.threads}, {"case", name}};
  line["median"] = work / timing.median_s;
  line["p10"] = work / timing.p90_s;
  line["p90"] = work / timing.p10_s;
  line["unit"] = unit;
  for (const auto& [key, value] : extra) line[key] = value;
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

}  // namespace penstock
