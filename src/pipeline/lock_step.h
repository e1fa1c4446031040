// LockStepPipelines: the pipelines of several replicas that run the same sequence of waves. Where experts are
// spread over replicas, MoE layers exchange tokens across them, so every rank has to take part in every one.
//
//   engine 0 ─ A1 A2 A3 ─▶ ┌ wave 1 ┬ wave 2 ┬ wave 3 ┬ wave 4 ┐ ─▶ pipeline 0:  A1  --  A2  A3
//   engine 1 ─ B1 B2 B3 ─▶ └────────┴────────┴────────┴────────┘ ─▶ pipeline 1:  --  B1  B2  B3
//
// A wave is one step for each replica, an empty one (no chunks) where it has none. It is formed when some
// replica has a step and fewer than two waves are at the first stage: so the first stage never runs dry, and
// steps that come while two are there meet in the next wave rather than each with empty ones. Nothing runs
// where no replica has a step.
//
// Each replica's engine sees an Executor of its own, to which empty steps are invisible.
//
// Thread-safe: each replica's Executor from one thread, as Executor says, and different ones from different
// threads.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "plan/executor.h"

namespace penstock {

class LockStepPipelines {
 public:
  // `pipelines` are in this process (their Submit() never calls the notify function), have equally many
  // stages, run empty steps (PipelineOptions::run_empty_steps), allow for calls from any thread one at a
  // time, and tell of every step that the first stage has ended (PipelineOptions::told_step_us = 0).
  // REQUIRES: at least one.
  explicit LockStepPipelines(std::vector<std::unique_ptr<Executor>> pipelines);
  // Waits for the waves that have been formed: a rank that has begun one needs all the others. Steps that are
  // in none are dropped. REQUIRES: nobody uses replica() any more.
  ~LockStepPipelines();

  int num_replicas() const { return static_cast<int>(replicas_.size()); }
  Executor& replica(int idx);

  // Waves so far, and how many steps of them were empty.
  struct Counts {
    uint64_t waves = 0;
    uint64_t empty_steps = 0;
  };
  Counts counts() const;

 private:
  class View;
  // A replica's part of a wave.
  struct Part {
    uint64_t step_id = 0;        // the engine's; 0: empty
    std::vector<SeqId> skipped;  // cancelled before the wave was formed
  };
  struct Replica {
    std::unique_ptr<View> view;
    std::shared_ptr<const std::function<void()>> notify;  // the engine's
    std::deque<std::unique_ptr<Step>> waiting;            // for a wave
    std::unordered_set<SeqId> cancelled;                  // with chunks in them
    std::deque<Part> parts;                               // of the waves in flight, in order
    std::deque<std::unique_ptr<StepResult>> results;      // for the engine
    std::unique_ptr<Executor> pipeline;
  };

  void Submit(int idx, std::unique_ptr<Step> step);
  std::unique_ptr<StepResult> Poll(int idx);
  FirstStageLoad FirstStage(int idx) const;
  void SetNotify(int idx, std::function<void()> notify);
  void Cancel(int idx, SeqId seq);

  // Something has happened in this replica's pipeline.
  void OnNotify(int idx);
  // With mutex_ held.
  void TakeResults(Replica& replica);
  void FormWaves();
  void FormWave();
  Part Join(Replica& replica, Step* step);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t last_wave_ = 0;         // GUARDED_BY(mutex_)
  uint64_t empty_steps_ = 0;       // GUARDED_BY(mutex_)
  bool stopping_ = false;          // GUARDED_BY(mutex_)
  bool ended_ = false;             // GUARDED_BY(mutex_): the pipelines are not to be touched any more
  std::vector<Replica> replicas_;  // GUARDED_BY(mutex_) but for the vector and its pipelines
};

// One Executor for each pipeline, in lock step; together they own the pipelines, as LockStepPipelines does.
std::vector<std::unique_ptr<Executor>> MakeLockStep(std::vector<std::unique_ptr<Executor>> pipelines);

}  // namespace penstock
