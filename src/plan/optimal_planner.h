// OptimalPlanner: chunks sized by the measured cost model and by what waits. No knob.
//
// One prompt alone: EqualFit (prompt_plan.h), its remainder balanced again at every boundary, so there is no
// tail.
//
// Several prompts: what a pipeline loses to filling and draining is lost once for all of them, what it loses
// per chunk is lost for each. So the more work there is, the longer chunks may take: the target grows with
// the work in the system, but no further than to where overheads are 2 % (beyond, only latency grows). It
// changes by a quarter at the least, and for a prompt that has begun it never falls.
//
// Prompts that fit into one chunk each (short ones, or long ones of which all but the end is cached): whole
// prompts are packed into steps of equal work, about as many steps as keep every stage busy
// (prompt_packing.h), not one each, which would pay every overhead every time, and not all in one, which
// would leave all stages but one idle.
//
// A prompt that is small against the others goes into a step without them: it passes the stages as fast as it
// can.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "plan/chunk_planner.h"
#include "plan/cost_model.h"
#include "plan/make_chunk_planner.h"
#include "plan/prompt_packing.h"
#include "plan/prompt_plan.h"

namespace penstock {

class OptimalPlanner : public ChunkPlanner {
 public:
  explicit OptimalPlanner(const PlannerOptions& options);

  std::string_view name() const override { return "optimal"; }
  void BeginStep(const StepQuery& query) override;
  bool MayServe(SeqId seq) const override;
  int32_t NextChunk(const ChunkQuery& query) override;
  void OnStep(const StepTiming& timing) override;
  void SetCost(const CostModel& cost) override;

 private:
  enum class Mode {
    kChunks,   // chunks of target_us_
    kWhole,    // whole prompts: those of chosen_
    kNothing,  // what waits, waits for more
    kSmall,    // only prompts that take up to small_us_
  };
  // A prompt that has been planned, and not yet been scheduled to its end.
  struct BegunPrompt {
    double target_us = 0;               // never falls
    double alone_us = 0;                // the plan's target
    std::vector<int32_t> planned_ends;  // of its chunks, alone in the pipeline
  };
  struct StepInFlight {
    double work_us = 0;
    int32_t prompts = 0;  // that it completes
    StepWork completed;   // of their last chunks
  };

  // BeginStep(): what the step is to be.
  void ForgetTheGone(const StepQuery& query);
  void ChooseTarget(const StepQuery& query, const std::vector<PromptDemand>& demands);
  bool PackWholePrompts(const StepQuery& query, const std::vector<PromptDemand>& demands);
  double TargetAlone(const PrefillDemand& prefill);
  double TargetForQueue(const std::vector<PromptDemand>& demands) const;
  double OverheadTarget() const;  // where overheads are a small share of a chunk
  double in_flight_work_us() const;
  int32_t in_flight_prompts() const;

  // NextChunk().
  int32_t EqualChunk(const ChunkQuery& query) const;
  int32_t FurtherChunk(const ChunkQuery& query, double target_us, double room_us) const;
  int32_t Smoothed(int32_t len, const ChunkQuery& query) const;
  PlanLimits LimitsFor(double max_step_us) const;

  const PlannerOptions options_;
  CostModel cost_;
  bool stages_equal_ = true;

  // The step being made.
  bool planning_ = false;          // BeginStep() has been called with a known model
  bool step_has_prompts_ = false;  // it is the last one of in_flight_
  Mode mode_ = Mode::kChunks;
  double target_us_ = 0;
  double small_us_ = 0;
  std::unordered_set<SeqId> chosen_;

  double queue_target_us_ = 0;  // slowly varying
  double mean_len_ = 0;         // of prompts of late, with their histories: where overheads are looked at
  std::unordered_map<SeqId, BegunPrompt> prompts_;
  std::deque<StepInFlight> in_flight_;  // steps with chunks of prompts, the oldest first
};

}  // namespace penstock
