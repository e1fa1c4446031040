// Pipeline: the Executor over real stages. Each stage is a rank with its own thread (and kernel team).
//
//   Submit ─▶ [queue] ─▶ stage 0 ─▶ [queue] ─▶ stage 1 ─▶ … ─▶ last stage ─▶ [results] ─▶ Poll
//
// A stage has one rank or several, which share its work and execute each step together (stage.h). Rank l of a
// stage hands over to rank l of the next: a lane (lane.h). All lanes get each step; the result is lane 0's.
//
// A step's hidden states live in one buffer of each lane that travels with it, so that the hand-over between
// stages of one process moves a pointer. Nothing goes back from the last stage to the first but the free
// buffer, and no stage waits for a later one unless more than `num_hidden_buffers` steps are between stage 0
// and the result.
//
// Thread safety: Submit, Poll, Cancel and SetSequenceParallelMinTokens from one thread (the engine's).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "pipeline/cancel_set.h"
#include "pipeline/lane.h"
#include "pipeline/stage.h"
#include "plan/executor.h"

namespace penstock {

struct PipelineOptions {
  int32_t num_stages = 1;
  int32_t num_lanes = 1;  // ranks of each stage
  ModelOptions model;
  int32_t num_hidden_buffers = 0;  // of each lane; 0: NumHiddenBuffers(num_stages)
  // Steps of at least so many tokens are computed with ModelBatch::sequence_parallel. Absent: none.
  std::optional<int32_t> sequence_parallel_min_tokens = std::nullopt;
  // The notify function is told when the first stage has ended a step of at least this length. The engine
  // plans around steps of some length; not to be told of shorter ones saves a wake-up for each token.
  int64_t told_step_us = 5'000;
  // Models run steps without chunks too, with 0 rows: other ranks wait for them (pipeline/lock_step.h).
  bool run_empty_steps = false;
};

// Enough for all steps that the scheduler has in flight at once.
inline int32_t NumHiddenBuffers(int32_t num_stages) { return 2 * num_stages + 2; }

// Makes rank `stage_idx * num_lanes + lane` of a pipeline: its team, groups, kernels and loaded model, KV
// blocks included. Called on that rank's own thread, all ranks at once, so that memory is first touched, and
// threads are born, where they will be used.
using RankFactory = std::function<Result<RankRuntime>(int32_t stage_idx, int32_t lane)>;

class Pipeline : public Executor {
 public:
  // Returns when every rank is ready to run, or with the first one's error.
  static Result<std::unique_ptr<Pipeline>> Create(const PipelineOptions& options,
                                                  const RankFactory& make_rank);
  // Ends the steps that have begun, drops the others, joins the threads.
  ~Pipeline() override;

  int num_stages() const override { return options_.num_stages; }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override;
  void SetNotify(std::function<void()> notify) override;
  void Cancel(SeqId seq) override;

  // Of the steps that are submitted from now on.
  void SetSequenceParallelMinTokens(std::optional<int32_t> min_tokens);

 private:
  explicit Pipeline(const PipelineOptions& options);
  void StageLoop(int32_t stage_idx, int32_t lane_idx, const RankFactory& make_rank,
                 BoundedQueue<Status>& ready);
  void Finish(StagePacket packet);
  void Notify();

  const PipelineOptions options_;
  CancelSet cancelled_;
  uint64_t last_submitted_ = 0;
  std::optional<int32_t> sequence_parallel_min_tokens_;
  std::mutex notify_mutex_;
  std::shared_ptr<const std::function<void()>> notify_;  // GUARDED_BY(notify_mutex_)
  std::vector<std::unique_ptr<Lane>> lanes_;             // [num_lanes]
  BoundedQueue<std::unique_ptr<StepResult>> results_;
  std::vector<std::thread> threads_;
};

}  // namespace penstock
