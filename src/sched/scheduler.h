// Scheduler: which tokens of which sequences go into the next step, and which blocks they use.
//
// Continuous batching over a pipeline. A step holds the next token of sequences in decode and chunks of
// prompts, within a budget of tokens. All chunks of a prompt may be in flight at once: nothing waits for the
// result of a chunk but the token that the last one draws. Sequences in decode are spread evenly over as many
// steps as there are stages, so that every stage has work. Prompts, running and waiting, are served in one
// order (service_order.h): one that is running and comes too late for a step pauses, and keeps its blocks.
//
// Blocks: a sequence begins to run when there are blocks for all its tokens; in decode it grows block by
// block. Where there are none left, the running sequence that arrived last loses its blocks and is computed
// again later, its generated tokens included. The one that arrived first (of the best priority) is never
// interrupted, so every sequence ends. Blocks are released when no step in flight uses them.
//
// Single-threaded, deterministic, no clock.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "plan/chunk_planner.h"
#include "plan/step.h"
#include "sched/block_pool.h"
#include "sched/prefix_cache.h"
#include "sched/scheduler_config.h"
#include "sched/sequence.h"
#include "sched/service_order.h"

namespace penstock {

// What a step that has come back means for one sequence.
struct SequenceUpdate {
  SeqId seq = 0;
  std::optional<SampledToken> token;
  std::optional<PromptLogprobs> prompt_logprobs;  // after a preemption, positions may come for a second time
  Status error;                                   // not OK: the sequence has ended, and is gone
};

struct SchedulerStats {
  int32_t num_running = 0;
  int32_t num_waiting = 0;   // preempted and deferred ones included
  int32_t num_deferred = 0;  // wait for a running sequence to compute the prompt they share
  int32_t num_held_blocks = 0;
  int32_t steps_in_flight = 0;
  int64_t waiting_prompt_tokens = 0;  // prompt tokens to be computed, of all sequences
  double waiting_prompt_us = 0;       // predicted time for them on the slowest stage; 0: no cost is known
  uint64_t preemptions = 0;
  uint64_t prefix_cache_queries = 0;  // tokens looked up
  uint64_t prefix_cache_hits = 0;     // tokens found
};

class Scheduler {
 public:
  // REQUIRES: config.Validate().ok(). `planner` outlives the scheduler.
  Scheduler(const SchedulerConfig& config, ChunkPlanner& planner);

  // kInvalidArgument if a prompt of this length can never run.
  Status CheckPromptLength(int64_t prompt_len) const;

  // REQUIRES: CheckPromptLength() is OK, params.max_tokens >= 1.
  void Add(SequenceSpec spec);

  // The sequence is done or not wanted any more: no further updates for it. Its blocks are released once the
  // steps in flight that use them have come back; returns whether there are any. Unknown ids are ignored.
  bool End(SeqId id);

  // The next step, or null where nothing can be scheduled now.
  std::unique_ptr<Step> Next();

  // Results come in the order of steps. The updates are in the order of the step's chunks.
  std::vector<SequenceUpdate> OnResult(StepResult result);

  const Sequence* Find(SeqId id) const;  // null once it has ended
  bool idle() const { return sequences_.empty(); }
  int32_t steps_in_flight() const { return static_cast<int32_t>(in_flight_.size()); }
  SchedulerStats stats() const;
  const SchedulerConfig& config() const { return config_; }
  void ResetPrefixCache() { pool_.DropCached(); }
  // For the predicted work of prompts, from now on.
  void SetCost(const CostModel& cost);

 private:
  struct ChunkInFlight {
    Sequence* seq;
    int32_t end;  // position after its last token
    bool samples;
  };
  struct StepInFlight {
    uint64_t step_id;
    std::vector<ChunkInFlight> chunks;
    double predicted_us;  // on the slowest stage; 0: not known
  };

  class StepPlan;      // what the step being made will hold (scheduler.cc)
  class PromptCursor;  // prompts in the order of service (scheduler.cc)
  enum class Admission { kAdmitted, kDeferred, kPostponed, kRefused };

  // Next(): each adds to the plan; Commit turns it into a step.
  void PlanDecodes(StepPlan& plan);
  void PlanPrompts(StepPlan& plan);
  std::unique_ptr<Step> Commit(const StepPlan& plan);

  bool PipelineIsFull() const;
  bool HasPrefillWork() const;
  bool MayAdmit() const;
  bool MustGoOn(const StepPlan& plan) const;
  int32_t DecodesPerStep() const;
  void AnnounceStep(const StepPlan& plan);
  void RefreshExpectedHits();
  int32_t PlanChunk(const Sequence& seq, int32_t pos, const StepPlan& plan);
  Admission TryAdmit(Sequence& seq, StepPlan& plan);
  int32_t NumGrowingSequences() const;
  void BeginRunning(Sequence& seq, std::vector<BlockId> cached_blocks);

  // Puts a sequence into the waiting queue, where its predicted work says.
  void BeginWaiting(Sequence& seq);

  // A block for the next token of a sequence in decode; false if there is none now.
  bool Grow(Sequence& seq);
  void Preempt(Sequence& seq);

  // OnResult().
  SequenceUpdate ApplyChunk(const ChunkInFlight& chunk, StepResult& result);
  Status ChunkError(const ChunkInFlight& chunk, const StepResult& result, const SampledToken* token) const;

  // The sequence, running or preempted, has ended.
  void Leave(Sequence& seq);
  void LeaveRunning(Sequence& seq, SequenceState state);
  // Releases the blocks of a sequence that has left, once no step in flight uses them.
  void SettleIfDrained(Sequence& seq);

  const SchedulerConfig config_;
  ChunkPlanner& planner_;
  ServiceOrder order_;
  BlockPool pool_;
  PrefixCache cache_;

  std::unordered_map<SeqId, std::unique_ptr<Sequence>> sequences_;
  std::set<Sequence*, ServedBefore> waiting_;
  std::set<Sequence*, ArrivedBefore> running_;
  int32_t num_draining_ = 0;            // preempted or ended, with steps in flight
  int32_t num_draining_preempted_ = 0;  // of these
  std::deque<StepInFlight> in_flight_;
  uint64_t next_step_id_ = 1;
  uint64_t next_arrival_ = 1;
  std::vector<PrefillDemand> demands_;  // AnnounceStep()'s own
  SchedulerStats counters_;             // only its counters are kept up
};

}  // namespace penstock
