// `penstock simulate`: what a pipeline of a known speed would do with a prompt, or with many, under each
// policy.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "apps/commands.h"
#include "apps/layout_flags.h"
#include "apps/simulation_flags.h"
#include "plan/prompt_plan.h"
#include "sim/layout_simulation.h"
#include "sim/simulation_report.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {
    "penstock simulate --cost COST | --layouts LAYOUT,… [flags]",
    "Runs the engine's scheduler and chunk planners in virtual time over a cost "
    "model, and prints times to first "
    "token, throughput, efficiency and chunks of each policy; or, of each layout of "
    "ranks on a described machine, "
    "throughput per device and where the time goes. No model is needed; "
    "docs/simulate.md says what is "
    "modelled."};

// "run.json" -> "run.optimal.json".
std::string TraceName(const std::string& path, const std::string& policy) {
  std::filesystem::path name(path);
  const std::string extension = name.extension().string();
  return name.replace_extension("." + policy + extension).string();
}

Status WriteTrace(const std::string& path, const SimulationReport& report) {
  std::ofstream file(path);
  file << report.trace.ToChromeJson();
  file.close();
  return file ? OkStatus() : Internal("--trace-file: {} cannot be written", path);
}

ReportDetail DetailOf(const ParsedFlags& flags, const Traffic& traffic) {
  if (flags.Bool("per-request")) return ReportDetail::kPerRequest;
  const bool is_workload = traffic.requests.size() > 1 || flags.Given("num-requests") ||
                           flags.Given("num-clients") || flags.Given("trace-in");
  return is_workload ? ReportDetail::kWorkload : ReportDetail::kOnePrompt;
}

double IdealSeconds(const CostModel& cost, const SimulatedRequest& request) {
  return IdealUs(cost, request.cached_len, request.prompt_len - request.cached_len) / 1e6;
}

// A line for each layout and policy.
Status SimulateLayouts(const ParsedFlags& flags) {
  ASSIGN_OR_RETURN(const LayoutSetup setup, ResolveLayouts(flags));
  ASSIGN_OR_RETURN(SimulationSetup simulation, ResolveSimulation(flags));
  ASSIGN_OR_RETURN(const Traffic traffic, ResolveTraffic(flags));
  std::vector<LayoutReport> reports;
  for (ChunkPolicy policy : simulation.policies) {
    simulation.planner.policy = policy;
    for (const ParallelLayout& layout : setup.layouts) {
      ASSIGN_OR_RETURN(LayoutReport report, SimulateLayout(setup.model, setup.cluster, layout,
                                                           simulation.config, simulation.planner, traffic));
      reports.push_back(std::move(report));
    }
  }
  fmt::print("{}", flags.Bool("json") ? LayoutsJson(reports).dump() + "\n" : LayoutsText(reports));
  return OkStatus();
}

Status Simulate(const ParsedFlags& flags) {
  if (flags.Given("layouts")) return SimulateLayouts(flags);
  ASSIGN_OR_RETURN(SimulationSetup setup, ResolveSimulation(flags));
  ASSIGN_OR_RETURN(const Traffic traffic, ResolveTraffic(flags));
  std::vector<SimulationReport> reports;
  for (ChunkPolicy policy : setup.policies) {
    setup.planner.policy = policy;
    Result<SimulationReport> report = SimulatePolicy(setup.config, setup.planner, traffic);
    if (!report.ok()) return report.status();
    if (flags.Given("trace-file")) {
      const std::string path = flags.String("trace-file");
      RETURN_IF_ERROR(
          WriteTrace(setup.policies.size() == 1 ? path : TraceName(path, report->policy), *report));
    }
    reports.push_back(*std::move(report));
  }
  const ReportDetail detail = DetailOf(flags, traffic);
  if (flags.Bool("json")) {
    fmt::print("{}\n", ReportsJson(reports, detail).dump());
  } else {
    const double ideal_s = IdealSeconds(setup.config.cost, reports[0].requests[0]);
    fmt::print("{}", ReportsText(reports, detail, ideal_s));
  }
  return OkStatus();
}

}  // namespace

int RunSimulate(std::span<const std::string> args) {
  const FlagsStart start = StartWithoutModel(args, SimulateCommandTable(), kInfo);
  if (!start.flags) return start.exit_code;
  const Status status = Simulate(*start.flags);
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
