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
// prompts are packed into steps of equal work, about as many steps as keep every stage busy (P to 1.25 P),
// not one each, which would pay every overhead every time, and not all in one, which would leave all stages
// but one idle.
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
  void SetCost(const CostModel& cost) override { cost_ = cost; }

 private:
  // What a prompt that waits, or its remainder, will take on the slowest stage.
  struct Demand {
    int32_t pos = 0;
    int32_t len = 0;
    bool whole = false;   // fits into one step
    double work_us = 0;   // without overheads
    double alone_us = 0;  // in one step of its own; only where it fits
  };
  // Whole prompts spread over steps.
  struct Spread {
    double step_us = 0;      // what one of them takes on average
    double num_prompts = 0;  // in the system
    bool pays = false;       // several of them in a step
    int32_t most_in_flight = 1;
    int32_t num_steps = 1;  // for those that wait
  };
  enum class Mode {
    kChunks,   // chunks of target_us_
    kWhole,    // whole prompts: those of chosen_
    kNothing,  // what waits, waits for more
    kSmall,    // only prompts that take up to small_us_
  };

  Demand Measure(const PrefillDemand& prefill) const;
  double TargetAlone(const PrefillDemand& prefill);
  double TargetForQueue(const std::vector<Demand>& demands) const;
  double OverheadTarget() const;  // where overheads are a small share of a chunk
  Spread SpreadWholePrompts(const std::vector<Demand>& demands) const;
  void ChooseWholePrompts(const StepQuery& query, const std::vector<Demand>& demands, int32_t num_steps);
  void ForgetTheGone(const StepQuery& query);

  int32_t EqualChunk(const ChunkQuery& query, bool first) const;
  int32_t Smoothed(int32_t len, const ChunkQuery& query) const;
  PlanLimits LimitsFor(double max_step_us) const;

  const PlannerOptions options_;
  CostModel cost_;

  Mode mode_ = Mode::kChunks;
  double target_us_ = 0;  // of the step
  std::unordered_set<SeqId> chosen_;
  double small_us_ = 0;                           // prompts up to this are small, in mode kSmall
  double queue_target_us_ = 0;                    // slowly varying
  std::unordered_map<SeqId, double> targets_us_;  // of prompts that have begun
  // Steps in flight with chunks of prompts, the oldest first: the prompts that they complete, and their work.
  struct StepInFlight {
    double work_us = 0;
    int32_t prompts = 0;
  };
  std::deque<StepInFlight> in_flight_;
  bool planning_ = false;          // BeginStep() has been called with a known model
  bool step_has_prompts_ = false;  // the last of in_flight_ is the step being made
  double mean_len_ = 0;            // of prompts of late, with their histories: where overheads are looked at
};

}  // namespace penstock
