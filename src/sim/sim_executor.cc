// Nothing happens by itself: whenever the executor is asked for something, it first lets all stages begin
// whose time has come. What a stage does is settled when it begins, so that a chunk cancelled before then is
// skipped.
//
// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_executor.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {

SimExecutor::SimExecutor(SimConfig config, const VirtualClock& clock)
    : config_(std::move(config)),
      clock_(clock),
      sampler_(config_.vocab_size, config_.script),
      kv_(config_.track_contents ? config_.num_blocks : 0, config_.block_size),
      stage_free_us_(config_.num_stages) {
  CHECK_GT(config_.num_stages, 0);
}

void SimExecutor::Submit(std::unique_ptr<Step> step) {
  if (step->step_id == 1 && steps_.empty()) next_step_id_ = 1;  // whoever submits has changed
  if (step->step_id != next_step_id_++ || step->chunks.empty())
    violations_.push_back("step id, or an empty step");
  for (const Chunk& chunk : step->chunks) CheckChunk(chunk);
  StepInFlight in_flight;
  in_flight.submit_us = clock_.now_us();
  if (config_.fault) in_flight.fault = config_.fault(*step);
  in_flight.step = std::move(step);
  steps_.push_back(std::move(in_flight));
  BeginStages();
}

int64_t SimExecutor::RecvUs(const StepInFlight& in_flight) const {
  if (in_flight.stamps.empty()) return in_flight.submit_us;
  return in_flight.stamps.back().end_us + (config_.transfer_us ? config_.transfer_us(*in_flight.step) : 0);
}

std::optional<int64_t> SimExecutor::NextBeginUs(size_t idx) const {
  const StepInFlight& in_flight = steps_[idx];
  const size_t stage = in_flight.stamps.size();
  if (stage == stage_free_us_.size()) return std::nullopt;
  if (idx > 0 && steps_[idx - 1].stamps.size() <= stage) return std::nullopt;
  return std::max(RecvUs(in_flight), stage_free_us_[stage]);
}

void SimExecutor::BeginStages() {
  for (size_t idx = 0; idx < steps_.size(); ++idx) {
    StepInFlight& in_flight = steps_[idx];
    for (;;) {
      const std::optional<int64_t> begin_us = NextBeginUs(idx);
      if (!begin_us || *begin_us > clock_.now_us()) break;
      const auto stage = static_cast<int32_t>(in_flight.stamps.size());
      const int64_t end_us = *begin_us + CostOf(in_flight, stage);
      const int64_t recv_us = RecvUs(in_flight);
      in_flight.stamps.push_back(
          {.stage = stage, .recv_us = recv_us, .begin_us = *begin_us, .end_us = end_us});
      stage_free_us_[stage] = end_us;
    }
  }
}

// Of what has not been cancelled.
int64_t SimExecutor::CostOf(StepInFlight& in_flight, int32_t stage) {
  const Step& step = *in_flight.step;
  const auto is_cancelled = [&](const Chunk& chunk) { return cancelled_.contains(chunk.seq); };
  if (std::none_of(step.chunks.begin(), step.chunks.end(), is_cancelled)) return config_.cost(step, stage);
  Step rest;
  rest.step_id = step.step_id;
  for (const Chunk& chunk : step.chunks) {
    if (is_cancelled(chunk)) {
      in_flight.skipped.insert(chunk.seq);
    } else {
      rest.chunks.push_back(chunk);
    }
  }
  return config_.cost(rest, stage);
}

std::optional<int64_t> SimExecutor::NextEventUs() const {
  std::optional<int64_t> next_us;
  for (size_t idx = 0; idx < steps_.size(); ++idx) {
    std::optional<int64_t> event_us = NextBeginUs(idx);
    const StepInFlight& in_flight = steps_[idx];
    if (idx == 0 && in_flight.stamps.size() == stage_free_us_.size()) {
      event_us = in_flight.stamps.back().end_us + in_flight.fault.delay_us;
    }
    if (in_flight.stamps.size() == 1 && in_flight.stamps[0].end_us > clock_.now_us()) {
      event_us = std::min(event_us.value_or(in_flight.stamps[0].end_us), in_flight.stamps[0].end_us);
    }
    if (event_us && (!next_us || *event_us < *next_us)) next_us = event_us;
  }
  return next_us;
}

FirstStageLoad SimExecutor::FirstStage() const {
  FirstStageLoad load;
  for (const StepInFlight& in_flight : steps_) {
    const bool begun = !in_flight.stamps.empty();
    if (begun && in_flight.stamps[0].end_us <= clock_.now_us()) continue;
    if (load.num_steps++ == 0 && begun) load.begin_us = in_flight.stamps[0].begin_us;
  }
  return load;
}

void SimExecutor::Cancel(SeqId seq) {
  BeginStages();
  cancelled_.insert(seq);
}

std::unique_ptr<StepResult> SimExecutor::Poll() {
  BeginStages();
  if (steps_.empty() || steps_.front().stamps.size() < stage_free_us_.size()) return nullptr;
  StepInFlight& oldest = steps_.front();
  if (oldest.stamps.back().end_us + oldest.fault.delay_us > clock_.now_us()) return nullptr;
  auto result = std::make_unique<StepResult>(Execute(oldest));
  if (config_.observer) config_.observer(*oldest.step, *result, oldest.submit_us);
  steps_.pop_front();
  return result;
}

StepResult SimExecutor::Execute(StepInFlight& in_flight) {
  StepResult result;
  result.step_id = in_flight.step->step_id;
  result.status = in_flight.fault.status;
  result.stamps = std::move(in_flight.stamps);
  for (const Chunk& chunk : in_flight.step->chunks) {
    const bool skipped = in_flight.skipped.contains(chunk.seq);
    if (skipped) result.skipped.push_back(chunk.seq);
    if (!skipped && result.status.ok()) {
      ExecuteChunk(chunk, in_flight.fault, result);
    } else if (config_.track_contents) {
      kv_.Spoil(chunk);
    }
  }
  return result;
}

void SimExecutor::ExecuteChunk(const Chunk& chunk, const SimFault& fault, StepResult& result) {
  const int32_t end = chunk.pos + chunk.len;
  std::vector<TokenId> history = {static_cast<TokenId>(chunk.seq), end};
  if (config_.track_contents) {
    kv_.Write(chunk);
    if (chunk.sample || !chunk.logprob_targets.empty()) history = kv_.Read(chunk, end);
  }
  if (chunk.sample && !fault.lose_token)
    result.tokens.push_back(sampler_.Draw(chunk.seq, history, *chunk.sample));

  if (chunk.logprob_targets.empty()) return;
  PromptLogprobs logprobs{.seq = chunk.seq, .pos = chunk.pos + 1, .positions = {}};
  for (int32_t i = 0; i < chunk.len && chunk.logprob_targets[i] >= 0; ++i) {
    const std::span<const TokenId> before = std::span(history).first(
        config_.track_contents ? static_cast<size_t>(chunk.pos + i + 1) : history.size());
    logprobs.positions.push_back(
        sampler_.LogprobsOf(chunk.logprob_targets[i], before, chunk.num_prompt_logprobs));
  }
  if (!logprobs.positions.empty()) result.prompt_logprobs.push_back(std::move(logprobs));
}

// Its shape; and that no step in flight, of another sequence, uses a block that this chunk writes to, or
// writes to one that it reads.
void SimExecutor::CheckChunk(const Chunk& chunk) {
  const std::string name = fmt::format("step {} sequence {}", next_step_id_ - 1, chunk.seq);
  const int32_t end = chunk.pos + chunk.len;
  if (chunk.len < 1 || chunk.pos < 0 || static_cast<int32_t>(chunk.token_ids.size()) != chunk.len) {
    violations_.push_back(name + ": shape");
  }
  if (static_cast<int32_t>(chunk.block_ids.size()) != CeilDiv(end, config_.block_size)) {
    violations_.push_back(name + ": number of blocks");
  }
  for (BlockId block : chunk.block_ids) {
    if (block < 0 || block >= config_.num_blocks) violations_.push_back(name + ": block out of range");
  }
  if (!config_.track_contents) return;
  auto first_written = [&](const Chunk& c) { return c.block_ids.begin() + c.pos / config_.block_size; };
  for (const StepInFlight& in_flight : steps_) {
    for (const Chunk& other : in_flight.step->chunks) {
      if (other.seq == chunk.seq) continue;
      for (auto block = chunk.block_ids.begin(); block != chunk.block_ids.end(); ++block) {
        const auto begin = block < first_written(chunk) ? first_written(other) : other.block_ids.begin();
        if (std::find(begin, other.block_ids.end(), *block) == other.block_ids.end()) continue;
        violations_.push_back(fmt::format("{}: block {} is in use by sequence {}", name, *block, other.seq));
      }
    }
  }
}

}  // namespace penstock
