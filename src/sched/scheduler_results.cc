// How sequences come by blocks while they run, how they leave, and what results do to them.
//
//   waiting ─▶ running ─▶ preempted ─▶ waiting
//      │          └──────────┴───────▶ ended
//      └─────────────────────────────▶ gone
//
// A sequence that leaves keeps its blocks until the steps in flight that use them have come back.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "sched/scheduler.h"

namespace penstock {

// ---- Blocks ------------------------------------------------------------------------

bool Scheduler::Grow(Sequence& seq) {
  const int32_t num_blocks = CeilDiv(seq.num_scheduled + 1, config_.block_size);
  if (num_blocks <= static_cast<int32_t>(seq.blocks.size())) return true;
  while (pool_.num_allocatable() == 0) {
    if (num_draining_ > 0) return false;  // blocks will come back
    Sequence& last = **running_.rbegin();
    CHECK(&last != &seq || running_.size() > 1) << "sequence " << seq.id << " alone does not fit";
    Preempt(last);
    if (&last == &seq) return false;
  }
  seq.blocks.push_back(pool_.Allocate(1)[0]);
  return true;
}

void Scheduler::Preempt(Sequence& seq) {
  ++seq.num_preemptions;
  ++counters_.preemptions;
  LeaveRunning(seq, SequenceState::kPreempted);
  SettleIfDrained(seq);
}

bool Scheduler::End(SeqId id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end() || it->second->state == SequenceState::kEnded) return false;
  Sequence& seq = *it->second;
  if (seq.state == SequenceState::kWaiting) {
    waiting_.erase(&seq);
    sequences_.erase(it);
    return false;
  }
  const bool in_flight = seq.num_steps_in_flight > 0;
  Leave(seq);
  SettleIfDrained(seq);
  return in_flight;
}

void Scheduler::Leave(Sequence& seq) {
  if (seq.state == SequenceState::kRunning) {
    LeaveRunning(seq, SequenceState::kEnded);
  } else {
    CHECK(seq.state == SequenceState::kPreempted);
    --num_draining_preempted_;
    seq.state = SequenceState::kEnded;
  }
}

void Scheduler::LeaveRunning(Sequence& seq, SequenceState state) {
  running_.erase(&seq);
  cache_.Withdraw(seq);
  seq.state = state;
  ++num_draining_;
  if (state == SequenceState::kPreempted) ++num_draining_preempted_;
}

void Scheduler::SettleIfDrained(Sequence& seq) {
  if (seq.state == SequenceState::kRunning || seq.num_steps_in_flight > 0) return;
  for (auto it = seq.blocks.rbegin(); it != seq.blocks.rend(); ++it) pool_.Release(*it);
  seq.blocks.clear();
  seq.num_scheduled = seq.num_computed = 0;
  --num_draining_;
  if (seq.state == SequenceState::kEnded) {
    sequences_.erase(seq.id);
    return;
  }
  --num_draining_preempted_;
  BeginWaiting(seq);
}

// ---- Results ------------------------------------------------------------------------

std::vector<SequenceUpdate> Scheduler::OnResult(StepResult result) {
  CHECK(!in_flight_.empty()) << "result of step " << result.step_id << ", none in flight";
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  CHECK_EQ(step.step_id, result.step_id);

  std::vector<SequenceUpdate> updates;
  for (const ChunkInFlight& chunk : step.chunks) {
    Sequence& seq = *chunk.seq;
    --seq.num_steps_in_flight;
    if (seq.state != SequenceState::kEnded) {
      SequenceUpdate update = ApplyChunk(chunk, result);
      // Chunks in flight after this one have computed on what this one has not written.
      if (!update.error.ok()) Leave(seq);
      if (update.token || update.prompt_logprobs || !update.error.ok()) updates.push_back(std::move(update));
    }
    SettleIfDrained(seq);
  }
  return updates;
}

SequenceUpdate Scheduler::ApplyChunk(const ChunkInFlight& chunk, StepResult& result) {
  Sequence& seq = *chunk.seq;
  SequenceUpdate update;
  update.seq = seq.id;
  const auto token = std::find_if(result.tokens.begin(), result.tokens.end(),
                                  [&](const SampledToken& sampled) { return sampled.seq == seq.id; });
  update.error = ChunkError(chunk, result, token == result.tokens.end() ? nullptr : &*token);
  if (!update.error.ok()) return update;

  seq.num_computed = chunk.end;
  cache_.Offer(seq);
  if (chunk.samples) {
    seq.tokens.push_back(token->id);
    update.token = std::move(*token);
  }
  const auto logprobs = std::find_if(result.prompt_logprobs.begin(), result.prompt_logprobs.end(),
                                     [&](const PromptLogprobs& entry) { return entry.seq == seq.id; });
  if (logprobs != result.prompt_logprobs.end()) update.prompt_logprobs = std::move(*logprobs);
  return update;
}

Status Scheduler::ChunkError(const ChunkInFlight& chunk, const StepResult& result,
                             const SampledToken* token) const {
  const SeqId id = chunk.seq->id;
  if (!result.status.ok()) return result.status.WithContext(fmt::format("step {}", result.step_id));
  if (std::find(result.skipped.begin(), result.skipped.end(), id) != result.skipped.end()) {
    return Internal("step {}: sequence {} was skipped without having been cancelled", result.step_id, id);
  }
  if (chunk.samples && token == nullptr) {
    return Internal("step {}: no token came back for sequence {}", result.step_id, id);
  }
  return OkStatus();
}

}  // namespace penstock
