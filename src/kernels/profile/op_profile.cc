// SPDX-License-Identifier: Apache-2.0
#include "kernels/profile/op_profile.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace penstock {

int64_t PhaseProfile::between_ops_ns() const {
  int64_t in_ops_ns = 0;
  for (const OpStats& stats : ops) in_ops_ns += stats.time_ns;
  return time_ns - in_ops_ns;
}

int64_t OpProfile::NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void OpProfile::BeginStep(StepKind kind, int64_t num_tokens) {
  std::lock_guard lock(mutex_);
  kind_ = kind;
  begin_ns_ = NowNs();
  PhaseProfile& phase = phases_[static_cast<size_t>(kind_)];
  ++phase.steps;
  phase.tokens += num_tokens;
}

void OpProfile::Record(const OpKey& key, int64_t begin_ns, int64_t end_ns, const OpWork& work) {
  std::lock_guard lock(mutex_);
  if (begin_ns_ == 0) return;  // a call that belongs to no step
  std::vector<OpStats>& ops = phases_[static_cast<size_t>(kind_)].ops;
  auto stats = std::ranges::find(ops, key, &OpStats::key);  // some dozen at most
  if (stats == ops.end()) stats = ops.insert(ops.end(), {.key = key, .calls = 0, .time_ns = 0, .work = {}});
  ++stats->calls;
  stats->time_ns += end_ns - begin_ns;
  stats->work.flops += work.flops;
  stats->work.bytes += work.bytes;
}

void OpProfile::EndStep() {
  std::lock_guard lock(mutex_);
  phases_[static_cast<size_t>(kind_)].time_ns += NowNs() - begin_ns_;
  begin_ns_ = 0;
}

std::array<PhaseProfile, kNumStepKinds> OpProfile::Take() {
  std::lock_guard lock(mutex_);
  return std::exchange(phases_, {});
}

}  // namespace penstock
