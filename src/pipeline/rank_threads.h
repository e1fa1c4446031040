// RankThreads: the ranks of a pipeline that are in this process, each on a thread of its own, which executes
// what comes down its lane.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "pipeline/cancel_set.h"
#include "pipeline/lane.h"
#include "pipeline/live_stages.h"
#include "pipeline/stage.h"

namespace penstock {

// Makes rank `stage_idx * num_lanes + lane` of a pipeline: its team, groups, kernels and loaded model, KV
// blocks included. Called on that rank's own thread, all ranks at once, so that memory is first touched, and
// threads are born, where they will be used.
using RankFactory = std::function<Result<RankRuntime>(int32_t stage_idx, int32_t lane)>;

struct RankThreadsOptions {
  ModelOptions model;
  bool has_lanes = false;  // for names: stages have several ranks
  int32_t num_hidden_buffers = 0;
  bool run_empty_steps = false;  // as PipelineOptions says
  // Where nobody else does: forgets what no later step needs. Null: somebody does.
  CancelSet* forget = nullptr;
};

class RankThreads {
 public:
  // `lanes[i]` is lane i, null where another process has it; they and `cancelled` outlive the object.
  RankThreads(const RankThreadsOptions& options, const std::vector<std::unique_ptr<Lane>>& lanes,
              const CancelSet& cancelled);
  // Waits for the threads, which end when their lanes are closed.
  ~RankThreads();

  // Returns when every rank is ready to run, or with the first one's error.
  Status Start(const RankFactory& make_rank);

  // What its ranks count; may outlive this.
  std::shared_ptr<const LiveStages> live() const { return live_; }

 private:
  void Run(int32_t stage_idx, int32_t lane_idx, const RankFactory& make_rank, BoundedQueue<Status>& ready);
  std::string Name(int32_t stage_idx, int32_t lane_idx, const char* separator) const;
  void AddHiddenBuffers(const ModelConfig& config, Lane& lane) const;

  const RankThreadsOptions options_;
  const std::vector<std::unique_ptr<Lane>>& lanes_;
  const CancelSet& cancelled_;
  const std::shared_ptr<LiveStages> live_ = std::make_shared<LiveStages>();
  std::vector<std::thread> threads_;
};

}  // namespace penstock
