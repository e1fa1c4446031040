// A plan of a small model that is not there, for tests that run over a simulated pipeline.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "apps/engine_plan.h"

namespace penstock {

inline EnginePlan SmallPlan(int32_t num_stages = 2, int32_t tp = 1) {
  EnginePlan plan;
  plan.model.architecture = "LlamaForCausalLM";
  plan.model.num_layers = 8;
  plan.model.vocab_size = 1000;
  plan.options.max_batched_tokens = 1024;
  plan.options.max_model_len = 4096;
  plan.options.block_size = 64;
  plan.memory.num_blocks = 128;
  plan.memory.max_model_len = 4096;
  plan.kernels = "avx2";
  plan.layout = {.pp = num_stages, .tp = tp};
  for (int32_t rank = 0; rank < plan.layout.world_size(); ++rank) {
    const int32_t stage = rank / tp, per_stage = 8 / num_stages;
    plan.ranges.push_back({stage * per_stage, (stage + 1) * per_stage, stage == 0, stage + 1 == num_stages,
                           RankShare{.tp_rank = rank % tp, .tp_size = tp}});
    plan.cores.push_back({rank});
  }
  return plan;
}

inline RunConfig SmallRun(std::string model_dir, int32_t num_stages = 2) {
  RunConfig run;
  run.model_dir = std::move(model_dir);
  run.layout.pp = num_stages;
  run.max_num_seqs = 8;
  run.enable_prefix_caching = false;
  run.log_stats_interval_s = 0;
  return run;
}

}  // namespace penstock
