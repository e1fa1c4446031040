// SimExecutor: a pipeline of stages in virtual time. A stage begins step k when it has ended step k - 1 and
// the stage before it has ended step k:
//
//   begin[s][k] = max(end[s][k - 1], end[s - 1][k] + transfer(step k))      end = begin + cost(step k, stage
//   s)
//
// Tokens come from a SimSampler that reads its history through the chunk's block table, out of blocks that
// hold what was really written to them.
//
// Single-threaded; see RealtimeSimExecutor for one that lives in real time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "plan/executor.h"
#include "sim/sim_kv.h"
#include "sim/sim_sampler.h"
#include "sim/step_cost.h"
#include "sim/virtual_clock.h"

namespace penstock {

// What goes wrong with a step.
struct SimFault {
  Status status = {};       // not OK: the step fails
  int64_t delay_us = 0;     // its result comes so much later
  bool lose_token = false;  // the result has no tokens
};

struct SimConfig {
  int num_stages = 1;
  int32_t num_blocks = 0;
  int32_t block_size = 16;
  int32_t vocab_size = 1000;
  StepCost cost = SimpleStepCost{.per_step_us = 100, .per_token_us = 1};
  // Between the end of a step on a stage and its arrival at the next one; null: none. No stage waits for it.
  std::function<int64_t(const Step&)> transfer_us = nullptr;
  // False: the KV cache holds nothing, for simulations at scale; a token depends on its sequence and position
  // only.
  bool track_contents = true;
  SimSampler::Script script = nullptr;
  std::function<SimFault(const Step&)> fault = nullptr;
  // Is shown every step together with its result, when the result is polled.
  std::function<void(const Step& step, const StepResult& result, int64_t submit_us)> observer = nullptr;
};

class SimExecutor : public Executor {
 public:
  SimExecutor(SimConfig config, const VirtualClock& clock);

  int num_stages() const override { return config_.num_stages; }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override;
  void SetNotify(std::function<void()>) override {}  // whoever moves the clock knows when to poll
  void Cancel(SeqId seq) override;

  // When something will happen next; nothing where no step is in flight. May be now.
  std::optional<int64_t> NextEventUs() const;
  int32_t num_in_flight() const { return static_cast<int32_t>(steps_.size()); }

  // Breaches of the contract in plan/step.h and plan/executor.h by whoever submits.
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  struct StepInFlight {
    std::unique_ptr<Step> step;
    int64_t submit_us = 0;
    SimFault fault;
    std::vector<StageStamp> stamps;  // of the stages that have begun
    std::unordered_set<SeqId> skipped;
  };

  // When a step has come to the stage that is next for it.
  int64_t RecvUs(const StepInFlight& in_flight) const;
  // When the stage that is next for step `idx` begins with it; nothing while that is not known.
  std::optional<int64_t> NextBeginUs(size_t idx) const;
  void BeginStages();
  int64_t CostOf(StepInFlight& in_flight, int32_t stage);
  StepResult Execute(StepInFlight& in_flight);
  void ExecuteChunk(const Chunk& chunk, const SimFault& fault, StepResult& result);
  void CheckChunk(const Chunk& chunk);

  const SimConfig config_;
  const VirtualClock& clock_;
  SimSampler sampler_;
  SimKv kv_;
  std::deque<StepInFlight> steps_;
  std::vector<int64_t> stage_free_us_;  // [num_stages], by the last step that has begun there
  std::unordered_set<SeqId> cancelled_;
  uint64_t next_step_id_ = 1;
  std::vector<std::string> violations_;
};

}  // namespace penstock
