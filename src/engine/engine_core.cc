// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

EngineConfig WithStagesOf(EngineConfig config, const Executor& executor) {
  config.scheduler.num_stages = executor.num_stages();
  return config;
}

std::unique_ptr<ChunkPlanner> OrStatic(std::unique_ptr<ChunkPlanner> planner) {
  return planner ? std::move(planner) : std::make_unique<StaticChunkPlanner>();
}

constexpr int32_t kMostStepsUnpublished = 64;

bool Contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// What is never drawn below min_tokens; each once.
std::vector<TokenId> StopIds(const std::vector<TokenId>& eos_token_ids, const SamplingParams& sampling) {
  std::vector<TokenId> ids = eos_token_ids;
  ids.insert(ids.end(), sampling.stop_token_ids.begin(), sampling.stop_token_ids.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace

EngineCore::EngineCore(const EngineConfig& config, Executor& executor, TokenTextFactory& texts,
                       std::unique_ptr<ChunkPlanner> planner)
    : config_(WithStagesOf(config, executor)),
      executor_(executor),
      texts_(texts),
      planner_(OrStatic(std::move(planner))),
      scheduler_(config_.scheduler, *planner_),
      stats_(config_.scheduler, config_.scheduler.num_stages),
      stall_(config_.health),
      seeds_(config_.seed) {
  CHECK_GT(config_.vocab_size, 0);
  if (!config_.measure_cost) return;
  estimator_.emplace(config_.scheduler.num_stages);
  if (!config_.cost_grid.empty()) {
    estimator_->SetGrid(config_.cost_grid);
  } else if (config_.cost_prior.known()) {
    estimator_->SetPrior(config_.cost_prior);
  }
  PublishCost();
}

// ---- Requests ------------------------------------------------------------------------

Status EngineCore::CheckRequest(const Request& request) const {
  RETURN_IF_ERROR(scheduler_.CheckPromptLength(static_cast<int64_t>(request.prompt_ids.size())));
  const SamplingParams& sampling = request.sampling;
  if (sampling.max_tokens < 1)
    return InvalidArgument("max_tokens is {}, expected at least 1", sampling.max_tokens);
  if (sampling.min_tokens < 0 || sampling.min_tokens > sampling.max_tokens) {
    return InvalidArgument("min_tokens is {}, expected 0 to max_tokens ({})", sampling.min_tokens,
                           sampling.max_tokens);
  }
  for (const auto& count : {sampling.logprobs, sampling.prompt_logprobs}) {
    if (count && (*count < 0 || *count > config_.max_logprobs)) {
      return InvalidArgument("{} logprobs were asked for, expected 0 to {}", *count, config_.max_logprobs);
    }
  }
  // Token ids index arrays of the size of the vocabulary.
  auto check_id = [&](TokenId id, const char* what) {
    if (id >= 0 && id < config_.vocab_size) return OkStatus();
    return InvalidArgument("{} has token id {}, the vocabulary has {} tokens", what, id, config_.vocab_size);
  };
  for (TokenId id : request.prompt_ids) RETURN_IF_ERROR(check_id(id, "the prompt"));
  for (TokenId id : sampling.stop_token_ids) RETURN_IF_ERROR(check_id(id, "stop_token_ids"));
  for (const auto& [id, bias] : sampling.logit_bias) RETURN_IF_ERROR(check_id(id, "logit_bias"));
  if (StopIds(config_.eos_token_ids, sampling).size() >= static_cast<size_t>(config_.vocab_size)) {
    return InvalidArgument("stop_token_ids has every token of the vocabulary");
  }
  return OkStatus();
}

void EngineCore::Admit(Request request, OutputSink sink, int64_t arrival_us) {
  const SeqId seq = next_seq_++;
  CHECK(seq_by_id_.try_emplace(request.request_id, seq).second) << "request_id " << request.request_id;
  LiveRequest& live = requests_[seq];
  live.id = std::move(request.request_id);
  live.seq = seq;
  live.sampling = request.sampling;
  live.sink = std::move(sink);
  live.detokenize = request.detokenize;
  live.report_progress = request.report_progress;
  live.num_prompt_tokens = static_cast<int32_t>(request.prompt_ids.size());
  live.times.arrival_us = arrival_us;
  if (!failure_.ok()) return EndRequest(seq, FinishReason::kError, failure_, arrival_us);
  if (request.detokenize || !request.sampling.stop.empty()) {
    live.text = texts_.Make(request.prompt_ids, request.sampling);
  }

  SequenceSpec spec;
  spec.id = seq;
  spec.prompt_ids = std::move(request.prompt_ids);
  spec.seed = request.sampling.seed ? static_cast<uint64_t>(*request.sampling.seed) : seeds_();
  if (request.sampling.min_tokens > 0)
    spec.min_tokens_bans = StopIds(config_.eos_token_ids, request.sampling);
  spec.params = std::move(request.sampling);
  spec.priority = request.priority;
  spec.arrival_us = arrival_us;
  spec.cache_salt = std::move(request.cache_salt);
  scheduler_.Add(std::move(spec));
}

void EngineCore::Abort(const std::string& request_id, int64_t now_us) {
  const auto it = seq_by_id_.find(request_id);
  if (it != seq_by_id_.end()) EndRequest(it->second, FinishReason::kAbort, OkStatus(), now_us);
}

void EngineCore::AbortAll(int64_t now_us) { EndAll(FinishReason::kAbort, OkStatus(), now_us); }

void EngineCore::EndAll(FinishReason reason, const Status& error, int64_t now_us) {
  std::vector<SeqId> seqs;
  for (const auto& [seq, request] : requests_) seqs.push_back(seq);
  std::sort(seqs.begin(), seqs.end());
  for (SeqId seq : seqs) EndRequest(seq, reason, error, now_us);
}

void EngineCore::EndRequest(SeqId seq, FinishReason reason, Status error, int64_t now_us) {
  const auto it = requests_.find(seq);
  if (it == requests_.end()) return;
  RequestOutput output;
  output.finish_reason = reason;
  output.error = std::move(error);
  Emit(it->second, std::move(output), now_us);
}

void EngineCore::SetCost(const CostModel& cost) {
  CHECK_EQ(cost.num_stages(), executor_.num_stages());
  cost_ = cost;
  planner_->SetCost(cost);
  scheduler_.SetCost(cost);
}

// A new model moves the targets that chunks are cut to, and a prompt is cut best to one target: so it waits
// until no prompt is between its first and its last chunk. Under steady load that may never be: then it comes
// after some steps, when being out of date costs more than an uneven chunk.
void EngineCore::PublishCost() {
  if (!estimator_ || estimator_->version() == published_version_) return;
  const bool is_first = published_version_ == 0;
  if (!is_first && !begun_prompts_.empty() && ++steps_unpublished_ < kMostStepsUnpublished) return;
  published_version_ = estimator_->version();
  steps_unpublished_ = 0;
  SetCost(estimator_->model());
}

// Of a step with chunks left out nobody knows what was timed.
void EngineCore::Measure(const StepInFlight& step, const StepResult& result) {
  if (!result.status.ok() || !result.skipped.empty()) return;
  planner_->OnStep({.chunks = step.chunks, .stamps = result.stamps});
  if (!estimator_) return;
  estimator_->OnStep(WorkOf(step.chunks), result.stamps);
  PublishCost();
}

// ---- The loop ------------------------------------------------------------------------

bool EngineCore::Tick(int64_t now_us) {
  bool any = false;
  while (std::unique_ptr<StepResult> result = executor_.Poll()) {
    TakeResult(std::move(*result), now_us);
    any = true;
  }
  if (failure_.ok()) {  // also where nothing is in flight
    failure_ = executor_.Failure();
    if (!failure_.ok()) EndAll(FinishReason::kError, failure_, now_us);
  }
  any |= SubmitSteps(now_us);
  if (in_busy_period_ && idle() && in_flight_.empty()) {
    in_busy_period_ = false;
    stats_.OnIdle();
  }
  return any;
}

bool EngineCore::SubmitSteps(int64_t now_us) {
  bool any = false;
  for (;;) {
    next_wake_us_ = pacer_.NotBeforeUs(executor_.FirstStage(), now_us);
    if (next_wake_us_ > now_us) return any;
    std::unique_ptr<Step> step = scheduler_.Next();
    if (!step) break;
    const StepInFlight& in_flight = Describe(*step, now_us);
    pacer_.OnSubmit(in_flight.predicted_us.empty() ? 0 : in_flight.predicted_us[0]);
    stall_.OnSubmit(in_flight.num_tokens, now_us);
    if (trace_) trace_->OnSubmit(*step, now_us, !in_busy_period_);
    in_busy_period_ = true;
    executor_.Submit(std::move(step));
    any = true;
  }
  next_wake_us_ = SubmitPacer::kNever;
  return any;
}

EngineCore::StepInFlight& EngineCore::Describe(const Step& step, int64_t now_us) {
  StepInFlight& in_flight = in_flight_.emplace_back();
  in_flight.submit_us = now_us;
  for (const Chunk& chunk : step.chunks) {
    in_flight.num_tokens += chunk.len;
    in_flight.num_prompt_tokens += chunk.is_decode ? 0 : chunk.len;
    in_flight.chunks.push_back({.pos = chunk.pos, .len = chunk.len, .is_decode = chunk.is_decode});
    in_flight.seqs.push_back(chunk.seq);
    LiveRequest& request = requests_.at(chunk.seq);
    if (!chunk.is_decode) {
      request.chunk_lens.push_back(chunk.len);
      chunk.sample ? void(begun_prompts_.erase(chunk.seq)) : void(begun_prompts_.insert(chunk.seq));
    }
    if (request.times.first_scheduled_us != 0) continue;
    request.times.first_scheduled_us = now_us;
    ReportProgress(request, chunk.pos, now_us);
  }
  const StepWork work = WorkOf(in_flight.chunks);
  for (const StageCost& stage : cost_.stages) in_flight.predicted_us.push_back(stage.Predict(work));
  return in_flight;
}

// All that a step computed of prompts.
void EngineCore::ReportProgress(const StepInFlight& step, int64_t now_us) {
  for (size_t i = 0; i < step.chunks.size(); ++i) {
    const auto it = requests_.find(step.seqs[i]);
    if (it == requests_.end() || step.chunks[i].is_decode) continue;
    ReportProgress(it->second, step.chunks[i].pos + step.chunks[i].len, now_us);
  }
}

// After a preemption some of it is computed again, of which nothing is said.
void EngineCore::ReportProgress(LiveRequest& request, int32_t num_done, int64_t now_us) {
  if (!request.report_progress || num_done <= request.num_reported) return;
  request.num_reported = num_done;
  AskScheduler(request);
  RequestOutput output;
  output.progress = {{.num_tokens = request.num_prompt_tokens,
                      .num_cached = request.num_cached_tokens,
                      .num_done = num_done,
                      .elapsed_us = now_us - request.times.first_scheduled_us}};
  Emit(request, std::move(output), now_us);
}

void EngineCore::TakeResult(StepResult result, int64_t now_us) {
  CHECK(!in_flight_.empty());
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.num_prompt_tokens > 0) {
    prefill_us_ = 0.9 * prefill_us_ + static_cast<double>(now_us - stall_.last_progress_us());
    prefill_tokens_ = 0.9 * prefill_tokens_ + step.num_prompt_tokens;
  }
  pacer_.OnResult();
  stall_.OnResult(now_us);
  stats_.OnStep(result, step);
  Measure(step, result);
  if (trace_) trace_->OnResult(result, now_us);
  if (result.status.ok()) ReportProgress(step, now_us);
  consecutive_failures_ = result.status.ok() ? 0 : consecutive_failures_ + 1;
  if (result.status.code() == StatusCode::kUnavailable) failure_ = result.status;

  for (SequenceUpdate& update : scheduler_.OnResult(std::move(result))) OnUpdate(std::move(update), now_us);
  if (!failure_.ok()) EndAll(FinishReason::kError, failure_, now_us);
}

void EngineCore::OnUpdate(SequenceUpdate update, int64_t now_us) {
  const auto it = requests_.find(update.seq);
  if (it == requests_.end()) return;
  if (!update.error.ok())
    return EndRequest(update.seq, FinishReason::kError, std::move(update.error), now_us);
  if (update.prompt_logprobs) OnPromptLogprobs(it->second, std::move(*update.prompt_logprobs));
  if (update.token) OnToken(it->second, std::move(*update.token), now_us);
}

// Position 1 is the first that has any. After a preemption, some come for a second time.
void EngineCore::OnPromptLogprobs(LiveRequest& request, PromptLogprobs part) {
  const int64_t next_pos = 1 + static_cast<int64_t>(request.prompt_logprobs.size());
  const int64_t num_known =
      std::min<int64_t>(next_pos - part.pos, static_cast<int64_t>(part.positions.size()));
  CHECK_GE(num_known, 0) << "prompt logprobs from position " << part.pos << ", expected " << next_pos;
  request.prompt_logprobs.insert(request.prompt_logprobs.end(),
                                 std::make_move_iterator(part.positions.begin() + num_known),
                                 std::make_move_iterator(part.positions.end()));
}

// ---- Tokens ------------------------------------------------------------------------

void EngineCore::OnToken(LiveRequest& request, SampledToken token, int64_t now_us) {
  ++request.num_output_tokens;
  request.report_progress = false;
  RecordToken(request, now_us);
  RequestOutput output;
  output.token_ids = {token.id};
  if (token.logprobs) output.logprobs.push_back(std::move(*token.logprobs));
  output.prompt_logprobs = std::exchange(request.prompt_logprobs, {});
  DecideFinish(request, token.id, output);
  if (request.text) AddText(request, token.id, output);
  Emit(request, std::move(output), now_us);
}

void EngineCore::RecordToken(LiveRequest& request, int64_t now_us) {
  RequestTimes& times = request.times;
  AskScheduler(request);
  if (request.num_output_tokens == 1) {
    times.first_token_us = now_us;
    stats_.OnFirstToken(times, request.num_prompt_tokens, request.num_cached_tokens);
  } else {
    stats_.OnNextToken(now_us - times.last_token_us);
  }
  times.last_token_us = now_us;
}

void EngineCore::AskScheduler(LiveRequest& request) const {
  const Sequence* seq = scheduler_.Find(request.seq);
  if (seq == nullptr) return;  // it ended in an error
  request.num_cached_tokens = seq->num_cached_tokens;
  request.num_preemptions = seq->num_preemptions;
}

void EngineCore::DecideFinish(const LiveRequest& request, TokenId id, RequestOutput& output) const {
  const SamplingParams& sampling = request.sampling;
  const int32_t num_tokens = request.num_prompt_tokens + request.num_output_tokens;
  const bool may_stop = request.num_output_tokens > sampling.min_tokens;
  if (may_stop && !sampling.ignore_eos && Contains(config_.eos_token_ids, id)) {
    output.finish_reason = FinishReason::kStop;
  } else if (may_stop && Contains(sampling.stop_token_ids, id)) {
    output.finish_reason = FinishReason::kStop;
    output.stop_reason = id;
  } else if (request.num_output_tokens >= sampling.max_tokens ||
             num_tokens >= config_.scheduler.max_seq_len()) {
    output.finish_reason = FinishReason::kLength;
  }
}

// A stop string that ends the request may be in the text of its last token, whatever that token is.
void EngineCore::AddText(LiveRequest& request, TokenId id, RequestOutput& output) {
  TokenText::Piece piece;
  const bool stopped_by_token = output.finish_reason == FinishReason::kStop;
  if (!stopped_by_token || request.sampling.include_stop_str_in_output) piece = request.text->Push(id);
  output.text = std::move(piece.text);
  if (!piece.stop && output.finish_reason != FinishReason::kNone) {
    piece = request.text->Flush();
    output.text += piece.text;
  }
  if (!request.detokenize) output.text.clear();
  if (!piece.stop || stopped_by_token) return;
  output.finish_reason = FinishReason::kStop;
  output.stop_reason = std::move(*piece.stop);
}

void EngineCore::Emit(LiveRequest& request, RequestOutput output, int64_t now_us) {
  const bool last = output.finish_reason != FinishReason::kNone;
  AskScheduler(request);
  if (last) request.times.finish_us = now_us;
  output.num_prompt_tokens = request.num_prompt_tokens;
  output.num_cached_tokens = request.num_cached_tokens;
  output.num_output_tokens = request.num_output_tokens;
  output.num_preemptions = request.num_preemptions;
  output.times = request.times;
  if (!last) return request.sink(std::move(output));

  output.chunk_lens = std::move(request.chunk_lens);
  stats_.OnFinish({.reason = output.finish_reason,
                   .times = request.times,
                   .num_prompt_tokens = request.num_prompt_tokens,
                   .num_cached_tokens = request.num_cached_tokens,
                   .num_output_tokens = request.num_output_tokens,
                   .num_preemptions = request.num_preemptions,
                   .max_tokens = request.sampling.max_tokens});
  const SeqId seq = request.seq;
  if (scheduler_.End(seq) || !output.error.ok()) executor_.Cancel(seq);
  const OutputSink sink = std::move(request.sink);
  seq_by_id_.erase(request.id);
  begun_prompts_.erase(seq);
  requests_.erase(seq);
  sink(std::move(output));
}

EngineStats EngineCore::Stats() const {
  const SchedulerStats scheduler = scheduler_.stats();
  EngineStats stats = stats_.Snapshot(scheduler, config_.scheduler);
  stats.cost = cost_;
  if (cost_.known()) stats.prefill_backlog_seconds = scheduler.waiting_prompt_us * 1e-6;
  stats.chunk_policy = planner_->name();
  stats.last_progress_us = stall_.last_progress_us();
  if (prefill_tokens_ > 0) stats.prefill_us_per_token = prefill_us_ / prefill_tokens_;
  if (estimator_ && estimator_->model().known()) {
    stats.measured_cost = estimator_->ModelToSave();
    stats.cost_version = estimator_->version();
    stats.cost_error = estimator_->recent_quality();
    stats.hop_gap_us = estimator_->hop_gap_us();
  }
  return stats;
}

void EngineCore::UpdateLoad(EngineLoad* load) const {
  const SchedulerStats scheduler = scheduler_.stats();
  load->waiting_prompt_tokens = scheduler.waiting_prompt_tokens;
  if (prefill_tokens_ > 0) load->prefill_us_per_token = prefill_us_ / prefill_tokens_;
  if (!cost_.known()) return;
  load->backlog_us = scheduler.waiting_prompt_us;
  if (!load->cost || *load->cost != cost_) load->cost = std::make_shared<const CostModel>(cost_);
}

std::optional<StepTrace> EngineCore::StopTrace() { return std::exchange(trace_, std::nullopt); }

}  // namespace penstock
