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

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "pipeline/cancel_set.h"
#include "pipeline/lane_wiring.h"
#include "pipeline/rank_threads.h"
#include "pipeline/remote_counters.h"
#include "plan/executor.h"
#include "plan/rank_counters.h"

namespace penstock {

struct PipelineOptions {
  int32_t num_stages = 1;
  int32_t num_lanes = 1;  // ranks of each stage
  ModelOptions model;
  int32_t num_hidden_buffers = 0;  // of each lane; 0: NumHiddenBuffers(num_stages)
  // Steps of at least so many tokens are computed with ModelBatch::sequence_parallel. Absent: none.
  std::optional<int32_t> sequence_parallel_min_tokens = std::nullopt;
  // Absent: all ranks are in this process.
  std::optional<RemoteRanks> remote = std::nullopt;
  // The notify function is told when the first stage has ended a step of at least this length. The engine
  // plans around steps of some length; not to be told of shorter ones saves a wake-up for each token.
  int64_t told_step_us = 5'000;
  // Models run steps without chunks too, with 0 rows: other ranks wait for them (pipeline/lock_step.h).
  bool run_empty_steps = false;
};

// Enough for all steps that the scheduler has in flight at once.
inline int32_t NumHiddenBuffers(int32_t num_stages) { return 2 * num_stages + 2; }

class Pipeline : public Executor {
 public:
  // Returns when every rank of this process is ready to run, or with the first one's error.
  static Result<std::unique_ptr<Pipeline>> Create(const PipelineOptions& options,
                                                  const RankFactory& make_rank);
  // Ends the steps that have begun, drops the others, joins the threads; tells the other processes, whose
  // workers then end.
  ~Pipeline() override;

  int num_stages() const override { return options_.num_stages; }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override;
  void SetNotify(std::function<void()> notify) override;
  void Cancel(SeqId seq) override;

  // A rank is gone, as `status` says (kUnavailable): all steps that are in flight, or come later, end with
  // it. Nothing waits for the other ranks any more; the process is to end without destroying this. From any
  // thread.
  void Fail(const Status& status);
  Status Failure() const override;

  // What its ranks have counted. Those of other processes are asked, and have a second to answer. Any thread.
  RankCounters Counters() const;

  // Of the steps that are submitted from now on.
  void SetSequenceParallelMinTokens(std::optional<int32_t> min_tokens);

 private:
  explicit Pipeline(const PipelineOptions& options);
  // What the endpoint's callbacks know of this; they may come when it is gone.
  struct Ear {
    std::mutex mutex;
    std::condition_variable changed;
    Pipeline* pipeline = nullptr;  // GUARDED_BY(mutex); null: gone
    bool results_end = false;      // GUARDED_BY(mutex): the last rank has closed its lane
  };
  void ListenToWorkers();
  void RemoteFirstEnded();
  // Waits for the last rank, if that is another process's.
  void EndListening();
  void Finish(std::unique_ptr<StepResult> result);
  void Notify();

  const PipelineOptions options_;
  CancelSet cancelled_;
  uint64_t last_submitted_ = 0;
  // Where stage 0 is elsewhere: what is submitted and not ended there, as far as we know.
  mutable std::mutex remote_first_mutex_;
  FirstStageLoad remote_first_;  // GUARDED_BY(remote_first_mutex_)
  mutable std::mutex in_flight_mutex_;
  std::deque<uint64_t> in_flight_;  // GUARDED_BY(in_flight_mutex_): ids of steps without result
  Status failure_;                  // GUARDED_BY(in_flight_mutex_)
  std::optional<int32_t> sequence_parallel_min_tokens_;
  std::mutex notify_mutex_;
  std::shared_ptr<const std::function<void()>> notify_;  // GUARDED_BY(notify_mutex_)
  BoundedQueue<std::unique_ptr<StepResult>> results_;
  // Calls notify_ for steps that end where they are submitted, as nothing else does after a failure.
  BoundedQueue<bool> late_notices_;
  std::thread late_notifier_;  // started by the first
  WiredLanes wired_;
  const std::shared_ptr<Ear> ear_ = std::make_shared<Ear>();
  std::unique_ptr<RankThreads> threads_;
  std::unique_ptr<RemoteCounters> remote_counters_;  // null: all ranks are in this process
};

}  // namespace penstock
