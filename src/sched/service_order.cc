// SPDX-License-Identifier: Apache-2.0
#include "sched/service_order.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr double kGuessedUsPerToken = 1000;

}  // namespace

double ServiceOrder::WorkUs(int32_t pos, int32_t end) const {
  const double len = std::max(0, end - pos);
  if (!cost_.known()) return kGuessedUsPerToken * len;
  double most_us = 0;
  for (const StageCost& stage : cost_.stages) most_us = std::max(most_us, stage.PureWork(pos, len));
  return most_us;
}

double ServiceOrder::RemainingUs(const Sequence& seq) const {
  if (seq.state == SequenceState::kRunning) return WorkUs(seq.num_scheduled, seq.prefill_len);
  return WorkUs(seq.prefill_begin, seq.num_tokens());
}

double ServiceOrder::KeyOf(const Sequence& seq) const {
  if (policy_ != SchedulingPolicy::kSrpt) return 0;
  const double served_us =
      seq.state == SequenceState::kRunning ? WorkUs(seq.prefill_begin, seq.num_scheduled) : 0;
  return RemainingUs(seq) + ageing_ * (static_cast<double>(seq.arrival_us) + served_us);
}

}  // namespace penstock
