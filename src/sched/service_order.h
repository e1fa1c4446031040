// ServiceOrder: which prompt is served first.
//
// fcfs and priority go by arrival. srpt goes by a key that grows with what is left to do and falls with what
// a prompt has waited,
//
//   key = remaining - ageing * waited,   waited = now - arrival - served
//
// where `served` is the work of its chunks so far, so that a prompt does not age while it runs. `now` is the
// same for all, so ageing * now is left out, and the key of a prompt that waits is a constant:
//
//   key = remaining + ageing * (arrival + served)
//
// Hence waiting is bounded: whatever comes after a prompt has waited remaining / ageing goes behind it. And a
// prompt that has not waited goes behind all that have less to do, however long it has run.
//
// Work is time on the slowest stage, without what is paid per step; while no model of the cost is known it is
// counted in tokens, at a rate that is only a guess.
//
// Pure; single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/cost_model.h"
#include "sched/scheduler_config.h"
#include "sched/sequence.h"

namespace penstock {

class ServiceOrder {
 public:
  ServiceOrder(SchedulingPolicy policy, double ageing) : policy_(policy), ageing_(ageing) {}

  // Keys from before are void.
  void SetCost(const CostModel& cost) { cost_ = cost; }
  bool has_cost() const { return cost_.known(); }

  // Predicted time, in microseconds, of tokens [pos, end).
  double WorkUs(int32_t pos, int32_t end) const;
  // Of what of the sequence is neither computed nor in a step in flight.
  double RemainingUs(const Sequence& seq) const;
  double KeyOf(const Sequence& seq) const;

 private:
  const SchedulingPolicy policy_;
  const double ageing_;
  CostModel cost_;
};

// Whose prompt comes first; by Sequence::service_key.
struct ServedBefore {
  bool operator()(const Sequence* a, const Sequence* b) const {
    if (a->priority != b->priority) return a->priority < b->priority;
    if (a->service_key != b->service_key) return a->service_key < b->service_key;
    return a->arrival < b->arrival;
  }
};

// Who keeps blocks when there are too few of them.
struct ArrivedBefore {
  bool operator()(const Sequence* a, const Sequence* b) const {
    return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
  }
};

}  // namespace penstock
