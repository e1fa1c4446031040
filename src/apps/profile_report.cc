// SPDX-License-Identifier: Apache-2.0
#include "apps/profile_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/affinity.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr double kNano = 1e-9;
constexpr const char* kPhaseNames[] = {"prefill", "decode"};

// Operations for each nanosecond; 0: not known.
double PeakOf(Arithmetic arithmetic, const Peaks& peaks) {
  switch (arithmetic) {
    case Arithmetic::kNone:
      return 0;
    case Arithmetic::kF32:
      return peaks.f32_gflops;
    case Arithmetic::kBF16:
      return peaks.bf16_gflops;
    case Arithmetic::kInt8:
      return peaks.int8_gops;
  }
  return 0;
}

double IdealNs(const OpStats& stats, const Peaks& peaks) {
  const double peak = PeakOf(stats.key.arithmetic, peaks);
  return peak > 0 ? stats.work.flops / peak : 0;
}

std::string ShapeText(const OpKey& key) {
  constexpr const char* kTypes[] = {"", "f32", "bf16", "int8"};
  std::string text;
  if (key.dims[0] > 0) text = fmt::format("{}x{} ", key.dims[0], key.dims[1]);
  return text + kTypes[static_cast<size_t>(key.arithmetic)];
}

std::string OrDash(double value, const char* format) {
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "-";
}

std::string PhaseText(const char* name, const PhaseProfile& phase, const Peaks& peaks) {
  const double seconds = static_cast<double>(phase.time_ns) * kNano;
  std::string text =
      fmt::format("  {}: {} steps, {} tokens, {:.1f} ms, {:.1f} tokens/s, {:.1f}% of the arithmetic's roof\n",
                  name, phase.steps, phase.tokens, seconds * 1e3, static_cast<double>(phase.tokens) / seconds,
                  ShareOfRoof(phase, peaks) * 100);
  text += fmt::format("    {:<20} {:<16} {:>7} {:>10} {:>7} {:>9} {:>8} {:>8} {:>7}\n", "operation", "shape",
                      "calls", "ms", "share", "GFLOP/s", "of peak", "GB/s", "lost");
  for (const OpRow& row : OpRows(phase, peaks)) {
    text += fmt::format("    {:<20} {:<16} {:>7} {:>10.2f} {:>6.1f}% {:>9} {:>8} {:>8} {:>6.1f}%\n", row.op,
                        row.shape, row.calls, row.seconds * 1e3, row.share * 100,
                        OrDash(row.gflops, "{:.1f}"), OrDash(row.share_of_peak * 100, "{:.1f}%"),
                        OrDash(row.gb_per_s, "{:.1f}"), row.lost_share * 100);
  }
  return text;
}

Json PhaseJson(const PhaseProfile& phase, const Peaks& peaks) {
  Json ops = Json::array();
  for (const OpRow& row : OpRows(phase, peaks)) {
    ops.push_back({{"op", row.op},
                   {"shape", row.shape},
                   {"calls", row.calls},
                   {"seconds", row.seconds},
                   {"share", row.share},
                   {"gflops_per_s", row.gflops},
                   {"share_of_peak", row.share_of_peak},
                   {"gb_per_s", row.gb_per_s},
                   {"lost_share", row.lost_share}});
  }
  return {{"steps", phase.steps},
          {"tokens", phase.tokens},
          {"seconds", static_cast<double>(phase.time_ns) * kNano},
          {"share_of_roof", ShareOfRoof(phase, peaks)},
          {"ops", ops}};
}

}  // namespace

std::vector<OpRow> OpRows(const PhaseProfile& phase, const Peaks& peaks) {
  std::vector<OpRow> rows;
  const double step_ns = std::max<double>(1, static_cast<double>(phase.time_ns));
  for (const OpStats& stats : phase.ops) {
    const double ns = std::max<double>(1, static_cast<double>(stats.time_ns));
    rows.push_back({.op = std::string(stats.key.op),
                    .shape = ShapeText(stats.key),
                    .calls = stats.calls,
                    .seconds = ns * kNano,
                    .share = ns / step_ns,
                    .gflops = stats.work.flops / ns,
                    .share_of_peak = IdealNs(stats, peaks) / ns,
                    .gb_per_s = stats.work.bytes / ns,
                    .lost_share = (ns - IdealNs(stats, peaks)) / step_ns});
  }
  std::ranges::stable_sort(rows, std::ranges::greater(), &OpRow::seconds);
  const auto between_ns = static_cast<double>(phase.between_ops_ns());
  OpRow between;
  between.op = "between operations";
  between.seconds = between_ns * kNano;
  between.share = between.lost_share = between_ns / step_ns;
  rows.push_back(std::move(between));
  return rows;
}

double ShareOfRoof(const PhaseProfile& phase, const Peaks& peaks) {
  double ideal_ns = 0;
  for (const OpStats& stats : phase.ops) ideal_ns += IdealNs(stats, peaks);
  return phase.time_ns > 0 ? ideal_ns / static_cast<double>(phase.time_ns) : 0;
}

std::string ProfileText(std::span<const StageProfile> stages) {
  std::string text;
  for (size_t i = 0; i < stages.size(); ++i) {
    const Peaks& peaks = stages[i].peaks;
    text += fmt::format("Stage {}: {}; peaks: f32 {:.1f}, bf16 {:.1f}, int8 {} GFLOP/s, memory {:.1f} GB/s\n",
                        i, stages[i].layers, peaks.f32_gflops, peaks.bf16_gflops,
                        OrDash(peaks.int8_gops, "{:.1f}"), peaks.read_gb_per_s);
    for (size_t kind = 0; kind < kNumStepKinds; ++kind) {
      const PhaseProfile& phase = stages[i].phases[kind];
      if (phase.steps > 0) text += PhaseText(kPhaseNames[kind], phase, peaks);
    }
  }
  return text;
}

Json ProfileJson(std::span<const StageProfile> stages) {
  Json json = Json::array();
  for (const StageProfile& stage : stages) {
    Json entry = {{"layers", stage.layers},
                  {"peak",
                   {{"f32_gflops_per_s", stage.peaks.f32_gflops},
                    {"bf16_gflops_per_s", stage.peaks.bf16_gflops},
                    {"int8_gops_per_s", stage.peaks.int8_gops},
                    {"read_gb_per_s", stage.peaks.read_gb_per_s}}}};
    for (size_t kind = 0; kind < kNumStepKinds; ++kind) {
      if (stage.phases[kind].steps > 0) {
        entry[kPhaseNames[kind]] = PhaseJson(stage.phases[kind], stage.peaks);
      }
    }
    json.push_back(std::move(entry));
  }
  return json;
}

std::vector<Peaks> MeasureStagePeaks(const EnginePlan& plan) {
  std::vector<Peaks> peaks(plan.layout.pp);
  std::vector<std::thread> threads;
  for (size_t stage = 0; stage < peaks.size(); ++stage) {
    threads.emplace_back([&, stage] {
      const std::vector<int>& cores = plan.cores[plan.Leader(stage)];
      PinThisThread(std::span(cores).first(1));
      ThreadTeam team(static_cast<int>(cores.size()), cores, "peak");
      peaks[stage] = MeasurePeaks(team, plan.kernels);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return peaks;
}

}  // namespace penstock
