// Next() makes a plan and commits it. Planning changes nothing but who holds which blocks (a sequence may be
// admitted, grow or be preempted); what is in the step is settled in Commit() alone.
//
// Order within a step: the sequences in decode whose last token is known, in the order of arrival; then
// prompts, running and waiting alike, in the order of service, until the budget is used up.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {

class Scheduler::StepPlan {
 public:
  struct Pick {
    Sequence* seq;
    int32_t len;
  };

  explicit StepPlan(int32_t budget_tokens) : budget_tokens_(budget_tokens) {}

  void Add(Sequence& seq, int32_t pos, int32_t len, bool is_decode) {
    CHECK(len > 0 && len <= budget_tokens_) << len << " tokens, " << budget_tokens_ << " left";
    budget_tokens_ -= len;
    picks_.push_back({&seq, len});
    shapes_.push_back({.pos = pos, .len = len, .is_decode = is_decode});
  }

  int32_t budget_tokens() const { return budget_tokens_; }
  const std::vector<Pick>& picks() const { return picks_; }
  const std::vector<ChunkShape>& shapes() const { return shapes_; }

 private:
  int32_t budget_tokens_;
  std::vector<Pick> picks_;
  std::vector<ChunkShape> shapes_;
};

class Scheduler::PromptCursor {
 public:
  explicit PromptCursor(const Scheduler& scheduler)
      : waiting_(scheduler.waiting_.begin()), waiting_end_(scheduler.waiting_.end()) {
    std::copy_if(scheduler.running_.begin(), scheduler.running_.end(), std::back_inserter(running_),
                 [](const Sequence* seq) { return seq->in_prefill(); });
    std::sort(running_.begin(), running_.end(), ServedBefore());
  }

  // Null at the end. The one before it may have begun to run since.
  Sequence* Next() {
    const bool any_running = next_running_ < running_.size();
    if (waiting_ != waiting_end_ && (!any_running || ServedBefore()(*waiting_, running_[next_running_]))) {
      return *waiting_++;
    }
    return any_running ? running_[next_running_++] : nullptr;
  }
  void SkipWaiting() { waiting_ = waiting_end_; }

 private:
  std::set<Sequence*, ServedBefore>::const_iterator waiting_, waiting_end_;
  std::vector<Sequence*> running_;
  size_t next_running_ = 0;
};

namespace {

SchedulerConfig WithDefaults(SchedulerConfig config) {
  const Status status = config.Validate();
  CHECK(status.ok()) << status.message();
  if (config.max_steps_in_flight == 0) config.max_steps_in_flight = config.num_stages + 1;
  return config;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, ChunkPlanner& planner)
    : config_(WithDefaults(config)),
      planner_(planner),
      order_(config.policy, config.srpt_ageing),
      pool_(config.num_blocks),
      cache_(pool_, config.prefix_hash_key, config.block_size, config.enable_prefix_caching) {}

Status Scheduler::CheckPromptLength(int64_t prompt_len) const {
  if (prompt_len < 1) return InvalidArgument("the prompt is empty");
  if (prompt_len < config_.max_seq_len()) return OkStatus();
  if (prompt_len >= config_.max_model_len) {
    return InvalidArgument(
        "This model's maximum context length is {} tokens. However, your prompt contains {} input tokens, "
        "which leaves "
        "no room for output tokens.",
        config_.max_model_len, prompt_len);
  }
  return InvalidArgument(
      "The prompt contains {} input tokens and can never run: the KV cache holds {} tokens ({} blocks of "
      "{}), and at "
      "least one output token is needed.",
      prompt_len, config_.max_seq_len(), config_.num_blocks, config_.block_size);
}

void Scheduler::Add(SequenceSpec spec) {
  const auto prompt_len = static_cast<int64_t>(spec.prompt_ids.size());
  const Status status = CheckPromptLength(prompt_len);
  CHECK(status.ok()) << status.message();
  CHECK_GE(spec.params.max_tokens, 1);
  if (config_.policy != SchedulingPolicy::kPriority) spec.priority = 0;
  const auto max_len =
      static_cast<int32_t>(std::min<int64_t>(prompt_len + spec.params.max_tokens, config_.max_seq_len()));

  auto seq = std::make_unique<Sequence>(std::move(spec), next_arrival_++, max_len);
  BeginWaiting(*seq);
  const SeqId id = seq->id;
  CHECK(sequences_.try_emplace(id, std::move(seq)).second) << "sequence " << id;
}

void Scheduler::BeginWaiting(Sequence& seq) {
  seq.state = SequenceState::kWaiting;
  seq.prefill_begin = cache_.NumCachedBlocks(seq) * config_.block_size;
  seq.service_key = order_.KeyOf(seq);
  waiting_.insert(&seq);
}

void Scheduler::SetCost(const CostModel& cost) {
  order_.SetCost(cost);
  waiting_.clear();
  for (const auto& [id, seq] : sequences_) {
    seq->service_key = order_.KeyOf(*seq);
    if (seq->state == SequenceState::kWaiting) waiting_.insert(seq.get());
  }
}

const Sequence* Scheduler::Find(SeqId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() || it->second->state == SequenceState::kEnded ? nullptr : it->second.get();
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = counters_;
  stats.num_running = static_cast<int32_t>(running_.size());
  stats.num_waiting = static_cast<int32_t>(waiting_.size()) + num_draining_preempted_;
  stats.num_held_blocks = pool_.num_held();
  stats.steps_in_flight = steps_in_flight();
  for (const auto& [id, seq] : sequences_) {
    if (seq->state == SequenceState::kEnded) continue;
    const bool waits = seq->state == SequenceState::kWaiting;
    const bool deferred = waits && cache_.IsDeferred(*seq);
    // Of a waiting one, what is cached will not be computed.
    const int32_t begin = waits ? seq->prefill_begin : seq->num_computed;
    stats.waiting_prompt_tokens += std::max(0, seq->prompt_len - begin);
    stats.num_deferred += deferred;
    if (!order_.has_cost() || deferred) continue;  // little is left of a deferred one when its turn comes
    stats.waiting_prompt_us +=
        waits ? order_.RemainingUs(*seq) : order_.WorkUs(seq->num_computed, seq->prefill_len);
  }
  return stats;
}

// ---- Next ------------------------------------------------------------------------

std::unique_ptr<Step> Scheduler::Next() {
  if (PipelineIsFull()) return nullptr;
  // One more step than stages keeps stage 0 busy while a result is on its way. Of decode steps it would only
  // make smaller ones.
  if (steps_in_flight() >= config_.num_stages && !HasPrefillWork()) return nullptr;

  StepPlan plan(config_.max_num_batched_tokens);
  PlanDecodes(plan);
  const size_t num_decodes = plan.picks().size();
  if (HasPrefillWork()) AnnounceStep(plan);
  PlanPrompts(plan);
  const bool only_decodes = plan.picks().size() == num_decodes;
  if (only_decodes && (num_decodes == 0 || steps_in_flight() >= config_.num_stages)) return nullptr;
  return Commit(plan);
}

bool Scheduler::PipelineIsFull() const {
  // A step that is short against another one hardly keeps a stage busy: it must not take the place of one
  // that does.
  constexpr double kShort = 0.25;
  double longest_us = 0;
  for (const StepInFlight& step : in_flight_) longest_us = std::max(longest_us, step.predicted_us);
  const auto num_long = std::count_if(in_flight_.begin(), in_flight_.end(), [&](const StepInFlight& step) {
    return step.predicted_us >= kShort * longest_us;
  });
  return num_long >= config_.max_steps_in_flight ||
         steps_in_flight() >= config_.max_steps_in_flight + config_.num_stages;
}

bool Scheduler::HasPrefillWork() const {
  return !waiting_.empty() ||
         std::any_of(running_.begin(), running_.end(), [](const Sequence* seq) { return seq->in_prefill(); });
}

int32_t Scheduler::DecodesPerStep() const {
  const auto num_decoding = static_cast<int32_t>(std::count_if(
      running_.begin(), running_.end(), [](const Sequence* seq) { return !seq->in_prefill(); }));
  return CeilDiv(num_decoding, config_.num_stages);
}

void Scheduler::PlanDecodes(StepPlan& plan) {
  std::vector<Sequence*> ready;
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(ready),
               [](const Sequence* seq) { return seq->ready_to_decode(); });
  const int32_t num_tokens = std::min(DecodesPerStep(), plan.budget_tokens());
  for (Sequence* seq : ready) {
    if (static_cast<int32_t>(plan.picks().size()) == num_tokens) return;
    // Growing may preempt: always a later one in this order, so never one that is in the plan.
    if (seq->state == SequenceState::kRunning && Grow(*seq))
      plan.Add(*seq, seq->num_scheduled, 1, /*is_decode=*/true);
  }
}

bool Scheduler::MayAdmit() const {
  // A preempted sequence whose blocks are still in use comes before all that arrived after it.
  return num_draining_preempted_ == 0 && static_cast<int32_t>(running_.size()) < config_.max_num_seqs;
}

// Then a planner has no choice: nothing would ever ask it again.
bool Scheduler::MustGoOn(const StepPlan& plan) const {
  return plan.picks().empty() && steps_in_flight() == 0;
}

void Scheduler::PlanPrompts(StepPlan& plan) {
  constexpr int kMostPostponed =
      16;  // prompts of which the planner wants nothing, once it could have had them
  PromptCursor prompts(*this);
  int num_postponed = 0;
  while (plan.budget_tokens() > 0) {
    Sequence* const seq = prompts.Next();
    if (seq == nullptr) return;
    if (!MustGoOn(plan) && !planner_.MayServe(seq->id)) continue;
    if (seq->state == SequenceState::kRunning) {
      const int32_t len = PlanChunk(*seq, seq->num_scheduled, plan);
      if (len > 0) plan.Add(*seq, seq->num_scheduled, len, /*is_decode=*/false);
    } else {
      const Admission admission = MayAdmit() ? TryAdmit(*seq, plan) : Admission::kRefused;
      num_postponed += admission == Admission::kPostponed;
      // Nobody overtakes the one that waits for room.
      if (admission == Admission::kRefused || num_postponed == kMostPostponed) prompts.SkipWaiting();
    }
  }
}

// What waits, for the planner: in the order of service, as far as it wants to know.
void Scheduler::AnnounceStep(const StepPlan& plan) {
  constexpr size_t kMostDemands = 256;
  RefreshExpectedHits();
  demands_.clear();
  PromptCursor prompts(*this);
  while (const Sequence* seq = demands_.size() < kMostDemands ? prompts.Next() : nullptr) {
    const bool is_running = seq->state == SequenceState::kRunning;
    if (!is_running && cache_.IsDeferred(*seq)) continue;
    const int32_t pos = is_running ? seq->num_scheduled : seq->prefill_begin;
    demands_.push_back(
        {.seq = seq->id, .pos = pos, .remaining = seq->num_tokens() - pos, .is_running = is_running});
  }
  if (demands_.empty()) return;  // all wait for what is in flight
  planner_.BeginStep({.prefills = demands_,
                      .step_chunks = plan.shapes(),
                      .steps_in_flight = steps_in_flight(),
                      .max_tokens = plan.budget_tokens()});
}

// What is cached changes while sequences wait. Those that come next are looked up again.
void Scheduler::RefreshExpectedHits() {
  constexpr size_t kMostLookups = 8;
  std::vector<Sequence*> next;
  for (auto it = waiting_.begin(); it != waiting_.end() && next.size() < kMostLookups; ++it) {
    if (!cache_.IsDeferred(**it)) next.push_back(*it);
  }
  for (Sequence* seq : next) {
    if (cache_.NumCachedBlocks(*seq) * config_.block_size == seq->prefill_begin) continue;
    waiting_.erase(seq);
    BeginWaiting(*seq);
  }
}

int32_t Scheduler::PlanChunk(const Sequence& seq, int32_t pos, const StepPlan& plan) {
  ChunkQuery query;
  query.seq = seq.id;
  query.pos = pos;
  query.remaining = seq.num_tokens() - pos;
  query.max_len = std::min(query.remaining, plan.budget_tokens());
  if (config_.long_prefill_token_threshold > 0) {
    query.max_len = std::min(query.max_len, config_.long_prefill_token_threshold);
  }
  query.step_chunks = plan.shapes();

  const int32_t len = planner_.NextChunk(query);
  CHECK(len >= 0 && len <= query.max_len) << "chunk of " << len << ", at most " << query.max_len;
  return MustGoOn(plan) && len == 0 ? query.max_len : len;
}

Scheduler::Admission Scheduler::TryAdmit(Sequence& seq, StepPlan& plan) {
  if (cache_.IsDeferred(seq)) return Admission::kDeferred;
  std::vector<BlockId> cached = cache_.Lookup(seq);
  const auto num_cached = static_cast<int32_t>(cached.size());
  if (cache_.ShouldDefer(seq, num_cached)) return Admission::kDeferred;

  const auto num_revived = static_cast<int32_t>(std::count_if(
      cached.begin(), cached.end(), [&](BlockId block) { return pool_.num_holders(block) == 0; }));
  const int32_t num_needed = CeilDiv(seq.num_tokens(), config_.block_size) - num_cached + num_revived;
  if (num_needed + NumGrowingSequences() > pool_.num_allocatable()) return Admission::kRefused;

  const int32_t pos = num_cached * config_.block_size;
  const int32_t len = PlanChunk(seq, pos, plan);
  if (len == 0) return Admission::kPostponed;
  BeginRunning(seq, std::move(cached));
  plan.Add(seq, pos, len, /*is_decode=*/false);
  return Admission::kAdmitted;
}

// Each of these will soon need a block; admitting a sequence into the last ones would only preempt it again.
int32_t Scheduler::NumGrowingSequences() const {
  return static_cast<int32_t>(std::count_if(running_.begin(), running_.end(), [&](const Sequence* seq) {
    // The last token of a sequence is never computed, so it needs no room.
    return CeilDiv(seq->max_len - 1, config_.block_size) > static_cast<int32_t>(seq->blocks.size());
  }));
}

void Scheduler::BeginRunning(Sequence& seq, std::vector<BlockId> cached_blocks) {
  const auto num_cached = static_cast<int32_t>(cached_blocks.size());
  const int32_t num_cached_tokens = num_cached * config_.block_size;
  for (BlockId block : cached_blocks) pool_.Hold(block);
  const std::vector<BlockId> fresh =
      pool_.Allocate(CeilDiv(seq.num_tokens(), config_.block_size) - num_cached);
  seq.blocks = std::move(cached_blocks);
  seq.blocks.insert(seq.blocks.end(), fresh.begin(), fresh.end());

  seq.prefill_len = seq.num_tokens();
  seq.num_scheduled = seq.num_computed = num_cached_tokens;
  if (seq.num_preemptions == 0 && cache_.Serves(seq)) {
    seq.num_cached_tokens = num_cached_tokens;
    counters_.prefix_cache_queries += seq.num_tokens();
    counters_.prefix_cache_hits += num_cached_tokens;
  }
  cache_.Announce(seq, num_cached);
  waiting_.erase(&seq);
  seq.state = SequenceState::kRunning;
  seq.prefill_begin = num_cached_tokens;
  running_.insert(&seq);
}

std::unique_ptr<Step> Scheduler::Commit(const StepPlan& plan) {
  auto step = std::make_unique<Step>();
  step->step_id = next_step_id_++;
  StepInFlight& in_flight =
      in_flight_.emplace_back(StepInFlight{step->step_id, {}, order_.StepUs(plan.shapes())});
  for (const auto& [seq, len] : plan.picks()) {
    const Chunk& chunk = step->chunks.emplace_back(seq->MakeChunk(len, config_.block_size));
    in_flight.chunks.push_back({.seq = seq, .end = chunk.pos + len, .samples = chunk.sample.has_value()});
    seq->num_scheduled += len;
    seq->service_key = order_.KeyOf(*seq);
    ++seq->num_steps_in_flight;
  }
  return step;
}

}  // namespace penstock
