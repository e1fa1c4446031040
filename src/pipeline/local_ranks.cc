// SPDX-License-Identifier: Apache-2.0
#include "pipeline/local_ranks.h"

#include <memory>
#include <mutex>
#include <utility>

#include "base/affinity.h"
#include "base/check.h"
#include "base/log.h"
#include "kernels/profile/profiling_kernels.h"

namespace penstock {
namespace {

// Adds up the progress of ranks that load at the same time.
class ProgressSum {
 public:
  ProgressSum(LoadProgress progress, size_t num_ranks)
      : progress_(std::move(progress)), done_(num_ranks), total_(num_ranks) {}

  void Report(int32_t idx, size_t done_bytes, size_t total_bytes) {
    if (!progress_) return;
    std::lock_guard lock(mutex_);
    done_[idx] = done_bytes;
    total_[idx] = total_bytes;
    size_t done = 0, total = 0;
    for (size_t i = 0; i < done_.size(); ++i) done += done_[i], total += total_[i];
    progress_(done, total);
  }

 private:
  const LoadProgress progress_;
  std::mutex mutex_;
  std::vector<size_t> done_, total_;  // GUARDED_BY(mutex_)
};

}  // namespace

std::vector<std::vector<int>> AssignCores(std::span<const int> cores, int32_t num_ranks,
                                          int32_t threads_per_rank) {
  CHECK(!cores.empty() && num_ranks >= 1);
  std::vector<std::vector<int>> assigned(num_ranks);
  const int32_t num_cores = static_cast<int32_t>(cores.size());
  int32_t next = 0;
  for (int32_t rank = 0; rank < num_ranks; ++rank) {
    int32_t count = num_cores / num_ranks + (rank < num_cores % num_ranks ? 1 : 0);
    if (threads_per_rank > 0) count = threads_per_rank;
    if (count == 0) count = 1;  // more ranks than cores
    for (int32_t i = 0; i < count; ++i) assigned[rank].push_back(cores[next++ % num_cores]);
  }
  return assigned;
}

Result<std::unique_ptr<Kernels>> MakeKernelsByName(const std::string& isa, ThreadTeam& team) {
  if (isa == "ref") return MakeRefKernels();
  if (std::unique_ptr<Kernels> kernels = MakeCpuKernels(team, isa)) return kernels;
  std::string usable = "ref";
  for (std::string_view name : UsableCpuIsas()) usable += ", " + std::string(name);
  return InvalidArgument("kernels '{}': this processor and build can run: auto, {}", isa, usable);
}

RankFactory MakeLocalRankFactory(LocalRanksOptions options) {
  CHECK_EQ(options.ranges.size(), options.cores.size());
  if (options.groups.empty()) options.groups.resize(options.ranges.size());
  CHECK_EQ(options.ranges.size(), options.groups.size());
  auto shared = std::make_shared<LocalRanksOptions>(std::move(options));
  auto progress = std::make_shared<ProgressSum>(shared->progress, shared->ranges.size());
  return [shared, progress](int32_t stage_idx, int32_t lane) -> Result<RankRuntime> {
    const RankShare& share = shared->ranges[0].share;
    const int32_t idx = stage_idx * share.tp_size * share.pcp_size + lane;
    const std::vector<int>& cores = shared->cores[idx];
    if (!PinThisThread(std::span(cores).first(1))) {
      LogWarning("rank {}: cannot be pinned to core {}", idx, cores[0]);
    }
    RankRuntime rank;
    rank.team =
        std::make_unique<ThreadTeam>(static_cast<int>(cores.size()), cores, "rank." + std::to_string(idx));
    rank.groups = std::move(shared->groups[idx]);
    rank.clock_offset_us = shared->clock_offset_us;
    ASSIGN_OR_RETURN(rank.kernels, MakeKernelsByName(shared->kernel_isa, *rank.team));
    if (!shared->profiles.empty() && lane == 0) {
      rank.profile = shared->profiles[stage_idx];
      rank.kernels = MakeProfilingKernels(std::move(rank.kernels), *rank.profile);
    }
    const LoadProgress report = [&](size_t done, size_t total) { progress->Report(idx, done, total); };
    ASSIGN_OR_RETURN(rank.model, LoadModel(shared->model_dir, shared->config, shared->ranges[idx],
                                           shared->model, *rank.kernels, report, shared->packed_cache,
                                           /*on_matrix=*/{}, rank.groups.comms()));
    rank.model->AllocateKv(shared->num_blocks);
    return rank;
  };
}

}  // namespace penstock
