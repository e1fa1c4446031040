// Ranks in this process: which cores each one owns, and how it is made from a model directory.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "pipeline/pipeline.h"
#include "pipeline/rank_groups.h"

namespace penstock {

// Disjoint cores for `num_ranks` ranks, cores[rank] in ascending order: cores.size() / num_ranks each, the
// first ranks one more where it does not divide; `threads_per_rank` > 0 takes that many of them instead
// (wrapping around where there are fewer cores than threads in all).
std::vector<std::vector<int>> AssignCores(std::span<const int> cores, int32_t num_ranks,
                                          int32_t threads_per_rank);

struct LocalRanksOptions {
  std::string model_dir;
  ModelConfig config;
  ModelOptions model;
  std::vector<LayerRange> ranges;       // [num_ranks] of the pipeline, stage by stage, with their shares
  std::vector<std::vector<int>> cores;  // [num_ranks], one thread for each core
  std::vector<RankGroups> groups;       // [num_ranks]; empty: every rank is alone in its stage
  std::string kernel_isa = "auto";      // "ref", or a name of MakeCpuKernels
  int32_t num_blocks = 0;               // KV blocks of each rank
  int64_t clock_offset_us = 0;          // RankRuntime::clock_offset_us
  PackedCache packed_cache;
  std::vector<OpProfile*> profiles;  // [num_stages] of lane 0, outlive the ranks; empty: none are taken
  // Called from the ranks' threads, one at a time, with the sums over all ranks.
  LoadProgress progress;
};

// A factory for Pipeline::Create. It makes each rank once.
RankFactory MakeLocalRankFactory(LocalRanksOptions options);

// Kernels by name, or kInvalidArgument listing the names that this machine can run.
Result<std::unique_ptr<Kernels>> MakeKernelsByName(const std::string& isa, ThreadTeam& team);

}  // namespace penstock
