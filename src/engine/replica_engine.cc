// SPDX-License-Identifier: Apache-2.0
#include "engine/replica_engine.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "engine/merge_stats.h"
#include "engine/step_trace.h"

namespace penstock {
namespace {

EngineLimits LimitsOf(const std::vector<std::unique_ptr<Engine>>& replicas) {
  CHECK(!replicas.empty());
  EngineLimits limits = replicas[0]->limits();
  for (size_t i = 1; i < replicas.size(); ++i) {
    limits.max_model_len = std::min(limits.max_model_len, replicas[i]->limits().max_model_len);
    limits.max_num_seqs += replicas[i]->limits().max_num_seqs;
  }
  return limits;
}

ReplicaRouterConfig RouterConfig(const std::vector<std::unique_ptr<Engine>>& replicas, bool prefix_affinity) {
  ReplicaRouterConfig config;
  for (const auto& replica : replicas) {
    const EngineStats stats = replica->Stats();
    config.num_blocks.push_back(stats.num_blocks);
    config.block_size = std::max(1, stats.block_size);
  }
  config.prefix_affinity = prefix_affinity;
  config.key = RandomSipKey();
  return config;
}

bool IsAboutTheReplica(StatusCode code) {
  return code == StatusCode::kResourceExhausted || code == StatusCode::kUnavailable;
}

}  // namespace

std::unique_ptr<Engine> MakeReplicaEngine(std::vector<std::unique_ptr<Engine>> replicas,
                                          bool prefix_affinity) {
  if (replicas.size() == 1) return std::move(replicas[0]);
  return std::make_unique<ReplicaEngine>(std::move(replicas), prefix_affinity);
}

ReplicaEngine::ReplicaEngine(std::vector<std::unique_ptr<Engine>> replicas, bool prefix_affinity)
    : limits_(LimitsOf(replicas)),
      router_(RouterConfig(replicas, prefix_affinity)),
      replicas_(std::move(replicas)) {}

Status ReplicaEngine::Submit(Request request, OutputSink sink) {
  if (draining_) return Unavailable("the engine is shutting down");
  const std::vector<BlockHash> blocks = router_.BlocksOf(request);
  std::vector<EngineLoad> loads;
  std::vector<bool> untried(replicas_.size(), true), healthy;
  for (const auto& replica : replicas_) {
    loads.push_back(replica->Load());
    healthy.push_back(replica->Health().ok());
  }
  Status refusal;  // the first of a replica that is full, else the first
  for (size_t tries = 0; tries < replicas_.size(); ++tries) {
    // Those that are not healthy come last: their own words say why.
    std::vector<bool> may_take(replicas_.size());
    for (size_t i = 0; i < may_take.size(); ++i) may_take[i] = untried[i] && healthy[i];
    if (std::ranges::count(may_take, true) == 0) may_take = untried;
    ASSIGN_OR_RETURN(const Assignment at, router_.Assign(request, blocks, loads, may_take));
    Status status = replicas_[at.replica]->Submit(request, KeepingBook(request.request_id, sink));
    if (status.ok()) {
      router_.OnTaken(at);
      return status;
    }
    router_.OnEnd(request.request_id, false);
    if (!IsAboutTheReplica(status.code())) return status;
    untried[at.replica] = false;
    const bool is_full = status.code() == StatusCode::kResourceExhausted;
    if (refusal.ok() || (is_full && refusal.code() != status.code())) refusal = std::move(status);
  }
  return refusal;
}

// On the replica's thread.
OutputSink ReplicaEngine::KeepingBook(std::string request_id, OutputSink sink) {
  return [this, request_id = std::move(request_id), sink = std::move(sink)](RequestOutput output) {
    // Before the sink: a client that has the answer may use the id again.
    if (output.finish_reason != FinishReason::kNone) {
      router_.OnEnd(request_id, output.num_output_tokens > 0);
    }
    sink(std::move(output));
  };
}

void ReplicaEngine::Abort(const std::string& request_id) {
  const int32_t replica = router_.Find(request_id);
  if (replica >= 0) replicas_[replica]->Abort(request_id);
}

EngineStats ReplicaEngine::Stats() const { return MergeStats(ReplicaStats()); }

std::vector<EngineStats> ReplicaEngine::ReplicaStats() const {
  std::vector<EngineStats> stats;
  for (const auto& replica : replicas_) stats.push_back(replica->Stats());
  return stats;
}

Status ReplicaEngine::Health() const {
  for (size_t i = 0; i < replicas_.size(); ++i) {
    Status status = replicas_[i]->Health();
    if (!status.ok()) return status.WithContext("replica " + std::to_string(i));
  }
  return OkStatus();
}

Status ReplicaEngine::Stall() const {
  for (size_t i = 0; i < replicas_.size(); ++i) {
    RETURN_IF_ERROR(replicas_[i]->Stall().WithContext("replica " + std::to_string(i)));
  }
  return OkStatus();
}

void ReplicaEngine::ForAll(const std::function<void(Engine&)>& act) {
  std::vector<std::thread> threads;
  for (const auto& replica : replicas_) threads.emplace_back([&act, &replica] { act(*replica); });
  for (std::thread& thread : threads) thread.join();
}

void ReplicaEngine::ResetPrefixCache() {
  ForAll([](Engine& replica) { replica.ResetPrefixCache(); });
  router_.ResetPrefixes();
}

void ReplicaEngine::StartTrace() {
  ForAll([](Engine& replica) { replica.StartTrace(); });
}

std::string ReplicaEngine::StopTrace() {
  std::vector<std::string> traces;
  for (const auto& replica : replicas_) traces.push_back(replica->StopTrace());
  return MergeTraces(traces);
}

void ReplicaEngine::Drain(int64_t timeout_us) {
  draining_ = true;
  ForAll([timeout_us](Engine& replica) { replica.Drain(timeout_us); });
}

}  // namespace penstock
