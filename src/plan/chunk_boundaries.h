// ChunkBoundaries: the ends of a prompt's chunks, moved while the makespan falls. For stages that differ,
// chunks of equal time are not quite the best: before a slow stage that comes late, small chunks fill the
// pipeline sooner.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/cost_model.h"
#include "plan/prompt_plan.h"

namespace penstock {

class ChunkBoundaries {
 public:
  // `cost` outlives it. `makespan_us` is that of `chunks`.
  ChunkBoundaries(const CostModel& cost, int64_t pos, const PlanLimits& limits,
                  std::span<const int32_t> chunks, double makespan_us);

  double makespan_us() const { return makespan_us_; }
  std::vector<int32_t> Lengths() const;

  // Hill climbing on the exact recurrence: each end in turn is moved, by ever smaller steps. A move is tried
  // in O(stages): what comes before it and what comes after it are kept as longest paths.
  void Improve();

 private:
  bool MayEnd(size_t idx, int64_t end) const;
  void ComputeTimes(size_t chunk, std::vector<double>* times) const;
  void ComputeAfter();
  bool Sweep(int64_t step);
  bool Transfer();

  const CostModel& cost_;
  const PlanLimits limits_;
  std::vector<int64_t> ends_;  // absolute, [num_chunks + 1]: entry 0 is where the first chunk begins
  double makespan_us_ = 0;
  std::vector<double>
      after_us_;  // [num_chunks + 1][num_stages]: longest path from a chunk's begin on a stage to the end
};

}  // namespace penstock
