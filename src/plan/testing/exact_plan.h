// The least makespan there is, for tests: a prompt of `num_slices` slices cut at slices only.
//
// Equal stages: makespan = Σ t + (P - 1) max t. For every time that a chunk may take, a dynamic programme
// finds the least Σ t of chunks no longer than that: TeraPipe's objective, exactly. Unequal stages: the state
// after some slices is when each stage is free; those that are not worse than another one on every stage are
// kept, all of them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "plan/cost_model.h"

namespace penstock::testing {

inline double ExactEqual(const CostModel& cost, int64_t pos, int64_t num_slices, int64_t slice) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const auto n = static_cast<size_t>(num_slices);
  std::vector<std::vector<double>> time(n + 1, std::vector<double>(n + 1));  // [begin][end]
  std::vector<double> caps;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j <= n; ++j) {
      time[i][j] = cost.stages[0].PredictChunk(static_cast<double>(pos + static_cast<int64_t>(i) * slice),
                                               static_cast<double>(static_cast<int64_t>(j - i) * slice));
      caps.push_back(time[i][j]);
    }
  }
  std::sort(caps.begin(), caps.end());
  double best = kNever;
  std::vector<double> sum(n + 1);
  for (double cap : caps) {
    if ((cost.num_stages() - 1) * cap >= best) break;
    std::fill(sum.begin(), sum.end(), kNever);
    sum[0] = 0;
    for (size_t j = 1; j <= n; ++j) {
      for (size_t i = j; i-- > 0 && time[i][j] <= cap;) sum[j] = std::min(sum[j], sum[i] + time[i][j]);
    }
    best = std::min(best, sum[n] + (cost.num_stages() - 1) * cap);
  }
  return best;
}

inline double ExactUnequal(const CostModel& cost, int64_t pos, int64_t num_slices, int64_t slice) {
  const auto n = static_cast<size_t>(num_slices);
  const size_t num_stages = cost.stages.size();
  using State = std::vector<double>;  // when each stage is free
  std::vector<std::vector<State>> fronts(n + 1);
  fronts[0].push_back(State(num_stages, 0.0));
  const auto no_worse = [](const State& a, const State& b) {
    for (size_t s = 0; s < a.size(); ++s) {
      if (a[s] > b[s]) return false;
    }
    return true;
  };
  for (size_t j = 1; j <= n; ++j) {
    std::vector<State>& front = fronts[j];
    for (size_t i = 0; i < j; ++i) {
      State times(num_stages);
      for (size_t s = 0; s < num_stages; ++s) {
        times[s] = cost.stages[s].PredictChunk(static_cast<double>(pos + static_cast<int64_t>(i) * slice),
                                               static_cast<double>(static_cast<int64_t>(j - i) * slice));
      }
      for (const State& from : fronts[i]) {
        State to(num_stages);
        double before = 0;
        for (size_t s = 0; s < num_stages; ++s) before = to[s] = std::max(before, from[s]) + times[s];
        if (std::any_of(front.begin(), front.end(), [&](const State& other) { return no_worse(other, to); }))
          continue;
        std::erase_if(front, [&](const State& other) { return no_worse(to, other); });
        front.push_back(std::move(to));
      }
    }
  }
  double best = std::numeric_limits<double>::infinity();
  for (const State& state : fronts[n]) best = std::min(best, state.back());
  return best;
}

inline double ExactMakespan(const CostModel& cost, int64_t pos, int64_t num_slices, int64_t slice) {
  const bool equal = std::all_of(cost.stages.begin(), cost.stages.end(),
                                 [&](const StageCost& stage) { return stage == cost.stages.front(); });
  return equal ? ExactEqual(cost, pos, num_slices, slice) : ExactUnequal(cost, pos, num_slices, slice);
}

}  // namespace penstock::testing
