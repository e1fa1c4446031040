// SPDX-License-Identifier: Apache-2.0
#include "sim/layout_simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/percentile.h"
#include "plan/step_work.h"

namespace penstock {
namespace {

constexpr double kUs = 1e6;

// The steps of all replicas together: each has the others' tokens beside its own.
JointStepCost MakeJointCost(const LayoutCost& cost) {
  return [cost](std::span<const Step* const> steps, int stage) {
    double tokens = 0, most_us = 0;
    for (const Step* step : steps) tokens += step == nullptr ? 0 : step->num_tokens();
    for (const Step* step : steps) {
      const StepWork work = step == nullptr ? StepWork() : WorkOf(*step);
      most_us = std::max(most_us, cost.Time(work, stage, tokens - work.tokens).total_us());
    }
    return std::llround(most_us);
  };
}

StepWork WorkOf(const StepRecord& step) {
  StepWork work;
  for (const ChunkRecord& chunk : step.chunks)
    work.Add({.pos = chunk.pos, .len = chunk.len, .is_decode = chunk.is_decode});
  return work;
}

// What a step took beyond its own work is waiting for other replicas.
TimeShares SharesOf(const LayoutCost& cost, const SimulationReport& report) {
  StageTime own;
  double busy_us = 0;
  const auto add = [&](const StepTrace& trace) {
    for (const StepRecord& step : trace.steps()) {
      const StepWork work = WorkOf(step);
      for (const StageStamp& stamp : step.stamps) {
        own.Add(cost.Time(work, stamp.stage));
        busy_us += static_cast<double>(stamp.end_us - stamp.begin_us);
      }
    }
  };
  add(report.trace);
  for (const StepTrace& trace : report.other_traces) add(trace);
  const ParallelLayout& layout = cost.layout();
  const double all_us = report.duration_s * kUs * layout.pp * layout.dp;
  if (all_us <= 0) return {};
  TimeShares shares = {.compute = own.compute_us / all_us,
                       .collectives = own.collective_us / all_us,
                       .fixed = own.fixed_us / all_us};
  shares.lock_step = std::max(0.0, busy_us - own.total_us()) / all_us;
  shares.idle = 1 - shares.compute - shares.collectives - shares.fixed - shares.lock_step;
  return shares;
}

std::vector<double> FirstTokenTimes(const SimulationReport& report) {
  std::vector<double> times;
  for (const SimulatedRequest& request : report.requests) times.push_back(request.ttft_s);
  return times;
}

}  // namespace

double LayoutReport::ttft_mean_s() const { return Mean(FirstTokenTimes(simulation)); }
double LayoutReport::ttft_median_s() const { return Percentile(FirstTokenTimes(simulation), 50); }
double LayoutReport::input_tokens_per_s() const {
  double tokens = 0;
  for (const SimulatedRequest& request : simulation.requests) tokens += request.prompt_len;
  return simulation.duration_s > 0 ? tokens / simulation.duration_s : 0;
}

Result<LayoutReport> SimulateLayout(const ModelShape& model, const ClusterSpec& cluster,
                                    const ParallelLayout& layout, SimulationConfig config,
                                    const PlannerOptions& options, const Traffic& traffic) {
  if (layout.pp > model.num_layers) {
    return InvalidArgument("layout {}: got {} stages, expected at most {}, the number of layers",
                           LayoutName(layout), layout.pp, model.num_layers);
  }
  if (layout.pp > 1 && layout.pcp > 1 && cluster.pcp_with_pp == 0)
    return InvalidArgument("layout {}: pp and pcp, expected one of them: pcp_with_pp is 0",
                           LayoutName(layout));
  const LayoutCost cost(model, cluster, layout);
  config.cost = cost.Fit(config.max_num_batched_tokens, MaxModelLen(config, traffic));
  config.step_cost = [cost](const Step& step, int stage) {
    return std::llround(cost.Time(WorkOf(step), stage).total_us());
  };
  config.transfer_us = [cost](const Step& step) { return std::llround(cost.TransferUs(step.num_tokens())); };
  config.num_replicas = layout.dp;
  if (cost.lock_step()) config.joint_cost = MakeJointCost(cost);
  LayoutReport report;
  report.layout = layout;
  report.weight_bytes = cost.WeightBytes();
  ASSIGN_OR_RETURN(report.simulation, SimulatePolicy(config, options, traffic));
  report.shares = SharesOf(cost, report.simulation);
  report.fits = report.weight_bytes <= cluster.memory_bytes;
  return report;
}

std::string LayoutsText(std::span<const LayoutReport> reports) {
  std::string text = fmt::format("{:<14}{:<14}{:>10}{:>9}{:>14}{:>7}{:>9}{:>13}{:>7}{:>11}{:>6}{:>10}\n",
                                 "layout", "policy", "TTFT mean", "median", "tokens/s/dev", "ratio",
                                 "compute", "collectives", "fixed", "lock step", "idle", "GB/device");
  const double first = reports.front().input_tokens_per_s_per_device();
  for (const LayoutReport& report : reports) {
    const TimeShares& shares = report.shares;
    const double rate = report.input_tokens_per_s_per_device();
    text += fmt::format(
        "{:<14}{:<14}{:>10.3f}{:>9.3f}{:>14.0f}{:>7.3f}{:>8.0f}%{:>12.0f}%{:>6.0f}%{:>10.0f}%{:>5.0f}%{:>10."
        "1f}{}\n",
        LayoutName(report.layout), report.simulation.policy, report.ttft_mean_s(), report.ttft_median_s(),
        rate, rate / first, 100 * shares.compute, 100 * shares.collectives, 100 * shares.fixed,
        100 * shares.lock_step, 100 * shares.idle, report.weight_bytes / 1e9,
        report.fits ? "" : "  does not fit");
  }
  return text;
}

Json LayoutsJson(std::span<const LayoutReport> reports) {
  Json all = Json::array();
  const double first = reports.front().input_tokens_per_s_per_device();
  for (const LayoutReport& report : reports) {
    const TimeShares& shares = report.shares;
    const double rate = report.input_tokens_per_s_per_device();
    all.push_back({{"layout", LayoutName(report.layout)},
                   {"policy", report.simulation.policy},
                   {"devices", report.layout.world_size()},
                   {"num_requests", report.simulation.requests.size()},
                   {"ttft_mean_s", report.ttft_mean_s()},
                   {"ttft_median_s", report.ttft_median_s()},
                   {"input_tokens_per_s", report.input_tokens_per_s()},
                   {"input_tokens_per_s_per_device", rate},
                   {"ratio_to_first", rate / first},
                   {"steps", report.simulation.num_steps()},
                   {"duration_s", report.simulation.duration_s},
                   {"shares",
                    {{"compute", shares.compute},
                     {"collectives", shares.collectives},
                     {"fixed", shares.fixed},
                     {"lock_step", shares.lock_step},
                     {"idle", shares.idle}}},
                   {"weight_bytes_per_device", report.weight_bytes},
                   {"fits", report.fits}});
  }
  return all;
}

}  // namespace penstock
