// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "sim/simulation.h"

namespace penstock {

Result<SimulationReport> SimulatePolicy(const SimulationConfig& config, PlannerOptions options,
                                        const Traffic& traffic) {
  options.max_tokens = config.max_num_batched_tokens;
  options.block_size = config.block_size;
  options.max_model_len = MaxModelLen(config, traffic);
  if (options.min_chunk) options.min_chunk = std::min(*options.min_chunk, options.max_tokens);
  return Simulate(config, traffic, [&] { return MakeChunkPlanner(options); });
}

}  // namespace penstock
