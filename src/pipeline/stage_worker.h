// StageWorker: the ranks of one replica in a process that has no engine. They execute what comes, until
// process 0 ends.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "pipeline/cancel_set.h"
#include "pipeline/lane_wiring.h"
#include "pipeline/rank_threads.h"
#include "pipeline/wire.h"

namespace penstock {

struct StageWorkerOptions {
  ModelOptions model;
  bool run_empty_steps = false;  // as PipelineOptions says
};

class StageWorker {
 public:
  // Returns when the ranks are ready to run, or with the first one's error.
  static Result<std::unique_ptr<StageWorker>> Start(const RemoteRanks& remote,
                                                    const StageWorkerOptions& options,
                                                    const RankFactory& make_rank);

  // Returns when all has been executed that came before process 0 ended its pipeline.
  void Wait() { threads_.reset(); }

 private:
  explicit StageWorker(const RemoteRanks& remote) : remote_(remote) {}

  const RemoteRanks remote_;
  // The endpoint's callbacks may come when the worker is gone.
  const std::shared_ptr<CancelSet> cancelled_ = std::make_shared<CancelSet>();
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<RankThreads> threads_;
};

// From process 0 to all workers of the replica.
void SendOrder(const RemoteRanks& remote, Order order);

}  // namespace penstock
