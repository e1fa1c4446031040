// SPDX-License-Identifier: Apache-2.0
#include "plan/prompt_packing.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kNearlyBest = 1.03;  // of the time that all take: shorter steps are worth that

StepWork Scaled(const StepWork& work, double factor) {
  return {.tokens = factor * work.tokens,
          .pairs = factor * work.pairs,
          .history = factor * work.history,
          .seqs = factor * work.seqs};
}

}  // namespace

PromptDemand MeasureDemand(const CostModel& cost, const PrefillDemand& prefill, int32_t max_tokens) {
  PromptDemand demand{.pos = prefill.pos, .len = prefill.remaining, .fits = prefill.remaining <= max_tokens};
  for (const StageCost& stage : cost.stages) {
    demand.work_us = std::max(demand.work_us, stage.PureWork(prefill.pos, prefill.remaining));
  }
  demand.alone_us = cost.BottleneckChunkUs(prefill.pos, prefill.remaining);
  return demand;
}

// With the prompts in the system spread over m steps, each is served once in the time of max(m, P) of them.
// Taken is the largest m that is near the best: less waits for each other.
PromptSpread SpreadPrompts(const CostModel& cost, const std::vector<PromptDemand>& demands,
                           const StepWork& in_flight, int32_t num_in_flight) {
  const double num_prompts = static_cast<double>(demands.size()) + num_in_flight;
  CHECK_GE(num_prompts, 1);
  StepWork all = in_flight;
  for (const PromptDemand& demand : demands) all.Add(WorkOf({.pos = demand.pos, .len = demand.len}));
  const double slots = cost.num_stages();
  const auto step_us = [&](double m) { return cost.BottleneckUs(Scaled(all, 1 / m)); };
  const auto round_us = [&](double m) { return std::max(m, slots) * step_us(m); };

  double best_us = round_us(1);
  for (double m = 2; m <= num_prompts; ++m) best_us = std::min(best_us, round_us(m));
  double num_steps = num_prompts;
  while (num_steps > 1 && round_us(num_steps) > kNearlyBest * best_us) --num_steps;
  return {.num_steps = num_steps, .step_us = step_us(num_steps)};
}

std::vector<size_t> PromptsOfFirstStep(const CostModel& cost, const std::vector<PromptDemand>& demands,
                                       size_t num_steps) {
  CHECK_GT(num_steps, 0u);
  // The largest first, each into the step that has the least.
  std::vector<size_t> order(demands.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return demands[a].alone_us > demands[b].alone_us; });
  std::vector<StepWork> works(num_steps);
  std::vector<double> times_us(num_steps);
  std::vector<size_t> step_of(demands.size());
  for (size_t i : order) {
    const size_t step = std::min_element(times_us.begin(), times_us.end()) - times_us.begin();
    step_of[i] = step;
    works[step].Add(WorkOf({.pos = demands[i].pos, .len = demands[i].len}));
    times_us[step] = cost.BottleneckUs(works[step]);
  }
  std::vector<size_t> first;
  for (size_t i = 0; i < demands.size(); ++i) {
    if (step_of[i] == step_of[0]) first.push_back(i);
  }
  return first;
}

}  // namespace penstock
