// ReplicaEngine: several engines behind one front: data parallelism. Each replica has a thread, a scheduler,
// blocks and an executor of its own, and they know nothing of each other; a request is sent to the one that
// is predicted to be done with its prompt first (engine/replica_router.h), and stays there.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/replica_router.h"

namespace penstock {

class ReplicaEngine : public Engine {
 public:
  // Use MakeReplicaEngine().
  ReplicaEngine(std::vector<std::unique_ptr<Engine>> replicas, bool prefix_affinity);

  const EngineLimits& limits() const override { return limits_; }
  // A replica that is full, dead or stuck is passed over. kResourceExhausted if all are full.
  Status Submit(Request request, OutputSink sink) override;
  void Abort(const std::string& request_id) override;
  // MergeStats() of the replicas', each of them consistent in itself.
  EngineStats Stats() const override;
  std::vector<EngineStats> ReplicaStats() const override;
  // The first error, with "replica 1: " before it.
  Status Health() const override;
  Status Stall() const override;
  void ResetPrefixCache() override;
  void StartTrace() override;
  std::string StopTrace() override;
  void Drain(int64_t timeout_us) override;

 private:
  // Of every replica at the same time; each may have to wait for its thread.
  void ForAll(const std::function<void(Engine&)>& act);
  OutputSink KeepingBook(std::string request_id, OutputSink sink);

  EngineLimits limits_;
  ReplicaRouter router_;
  std::atomic<bool> draining_{false};
  std::vector<std::unique_ptr<Engine>> replicas_;  // gone first: their last outputs come to the router
};

// The engine over `replicas`, made from one configuration but for EngineConfig::engine_idx; a single one is
// itself. `prefix_affinity`: they have prefix caches. REQUIRES: at least one.
std::unique_ptr<Engine> MakeReplicaEngine(std::vector<std::unique_ptr<Engine>> replicas,
                                          bool prefix_affinity = true);

}  // namespace penstock
