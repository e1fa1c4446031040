// Layouts side by side: the product's engine, scheduler and planner over each, on a described machine.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "plan/parallel_layout.h"
#include "sim/layout_cost.h"
#include "sim/simulation.h"

namespace penstock {

// Of the time of all devices, from the first arrival to the last end; the sum is 1.
struct TimeShares {
  double compute = 0;
  double collectives = 0;
  double fixed = 0;      // of layers and steps
  double lock_step = 0;  // waiting for a replica that takes longer, and empty steps
  double idle = 0;       // no step, or none yet: bubbles
};

struct LayoutReport {
  ParallelLayout layout;
  SimulationReport simulation;
  TimeShares shares;
  double weight_bytes = 0;  // of the rank that has the most
  bool fits = true;         // into its memory

  double ttft_mean_s() const;
  double ttft_median_s() const;
  double input_tokens_per_s() const;  // cached ones count
  double input_tokens_per_s_per_device() const { return input_tokens_per_s() / layout.world_size(); }
};

// `config` and `options`: as SimulatePolicy() takes them; costs and replicas are the layout's. The engine
// plans with LayoutCost::Fit(), and its steps take LayoutCost::Time().
Result<LayoutReport> SimulateLayout(const ModelShape& model, const ClusterSpec& cluster,
                                    const ParallelLayout& layout, SimulationConfig config,
                                    const PlannerOptions& options, const Traffic& traffic);

std::string LayoutsText(std::span<const LayoutReport> reports);
Json LayoutsJson(std::span<const LayoutReport> reports);

}  // namespace penstock
