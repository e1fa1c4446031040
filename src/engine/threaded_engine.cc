// SPDX-License-Identifier: Apache-2.0
#include "engine/threaded_engine.h"

#include <chrono>
#include <utility>

#include "base/affinity.h"
#include "base/clock.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr int64_t kAnswerWaitUs = 200'000;   // for the engine thread to answer a question
constexpr int64_t kAbortWaitUs = 5'000'000;  // for aborted requests to end, in Drain()
constexpr int32_t kFailuresInARow = 3;       // failed steps that make the engine unhealthy

int64_t Earlier(int64_t a_us, int64_t b_us) { return a_us < b_us ? a_us : b_us; }

EngineConfig Completed(EngineConfig config, const Executor& executor) {
  config.scheduler.num_stages = executor.num_stages();
  if (config.scheduler.prefix_hash_key == SipKey{}) config.scheduler.prefix_hash_key = RandomSipKey();
  return config;
}

}  // namespace

Result<std::unique_ptr<Engine>> MakeEngine(const EngineConfig& config, Executor& executor,
                                           TokenTextFactory& texts, std::unique_ptr<ChunkPlanner> planner) {
  const EngineConfig completed = Completed(config, executor);
  RETURN_IF_ERROR(completed.scheduler.Validate());
  if (completed.vocab_size < 1) return InvalidArgument("vocab_size is {}", completed.vocab_size);
  const SchedulerConfig& scheduler = completed.scheduler;
  if (scheduler.max_seq_len() < scheduler.max_model_len) {
    LogWarning("The KV cache holds {} tokens, less than max_model_len ({}): longer requests are refused.",
               scheduler.max_seq_len(), scheduler.max_model_len);
  }
  return std::unique_ptr<Engine>(
      std::make_unique<ThreadedEngine>(completed, executor, texts, std::move(planner)));
}

void ThreadedEngine::Bell::Ring() {
  std::lock_guard lock(mutex);
  ringing = true;
  rung.notify_one();
}

ThreadedEngine::ThreadedEngine(const EngineConfig& config, Executor& executor, TokenTextFactory& texts,
                               std::unique_ptr<ChunkPlanner> planner)
    : config_(Completed(config, executor)),
      limits_(config_.Limits()),
      core_(config_, executor, texts, std::move(planner)),
      stats_log_(config_.log_interval_us),
      admission_(config_.max_num_queued_reqs, config_.max_num_queued_tokens) {
  stats_ = core_.Stats();
  executor.SetNotify([bell = bell_] { bell->Ring(); });
  thread_ = std::thread([this] { Run(); });
}

ThreadedEngine::~ThreadedEngine() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    inbox_.abort_all = inbox_.stop = true;
  }
  bell_->Ring();
  thread_.join();
}

// ---- Callers' threads
// ----------------------------------------------------------------------------------------------

Status ThreadedEngine::Submit(Request request, OutputSink sink) {
  RETURN_IF_ERROR(core_.CheckRequest(request));
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return Unavailable("the engine has failed: {}", failure_.message());
    if (draining_) return Unavailable("the engine is shutting down");
    RETURN_IF_ERROR(admission_.Enter(request.request_id, static_cast<int64_t>(request.prompt_ids.size())));
    ++num_undelivered_;
    OutputSink keeping_book = KeepingBook(request.request_id, std::move(sink));
    inbox_.arrivals.push_back({std::move(request), std::move(keeping_book), NowUs()});
  }
  bell_->Ring();
  return OkStatus();
}

void ThreadedEngine::Abort(const std::string& request_id) {
  {
    std::lock_guard lock(mutex_);
    inbox_.aborts.push_back(request_id);
  }
  bell_->Ring();
}

template <typename Answer>
std::optional<Answer> ThreadedEngine::Ask(std::function<Answer(EngineCore&)> question) const {
  // Shared, because the engine thread may come to it when nobody waits any more.
  auto answer = std::make_shared<std::optional<Answer>>();  // GUARDED_BY(mutex_)
  std::unique_lock lock(mutex_);
  inbox_.questions.push_back([this, answer, question = std::move(question)] {
    Answer value = question(core_);
    std::lock_guard answer_lock(mutex_);
    *answer = std::move(value);
    answered_.notify_all();
  });
  lock.unlock();
  bell_->Ring();
  lock.lock();
  answered_.wait_for(lock, std::chrono::microseconds(kAnswerWaitUs), [&] { return answer->has_value(); });
  return std::move(*answer);
}

EngineStats ThreadedEngine::Stats() const {
  std::optional<EngineStats> fresh = Ask<EngineStats>([](EngineCore& core) { return core.Stats(); });
  std::lock_guard lock(mutex_);
  if (fresh) stats_ = std::move(*fresh);
  EngineStats stats = stats_;
  stats.num_waiting += static_cast<int32_t>(inbox_.arrivals.size());
  for (const Arrival& arrival : inbox_.arrivals) {
    stats.waiting_prompt_tokens += static_cast<int64_t>(arrival.request.prompt_ids.size());
  }
  stats.admission_rejections = admission_.rejections();
  return stats;
}

EngineLoad ThreadedEngine::Load() const {
  if (!load_wanted_.exchange(true)) Ask<bool>([](EngineCore&) { return true; });
  std::lock_guard lock(mutex_);
  return load_;
}

Status ThreadedEngine::Health() const {
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return Unavailable("the engine has failed: {}", failure_.message());
    if (draining_) return Unavailable("the engine is shutting down");
  }
  RETURN_IF_ERROR(Stall());
  if (consecutive_failures_ >= kFailuresInARow) {
    return Unavailable("the last {} steps have failed", consecutive_failures_.load());
  }
  return OkStatus();
}

Status ThreadedEngine::Stall() const {
  const int64_t now_us = NowUs();
  const int64_t busy_since_us = busy_since_us_;
  if (busy_since_us != 0 && now_us - busy_since_us > config_.health.min_stall_us) {
    return Unavailable("the engine thread has been stuck for {} s", (now_us - busy_since_us) / 1'000'000);
  }
  if (now_us > stall_deadline_us_) {
    return Unavailable("no step has come back for {} s while steps are in flight",
                       (now_us - last_progress_us_) / 1'000'000);
  }
  return OkStatus();
}

void ThreadedEngine::ResetPrefixCache() {
  Ask<bool>([](EngineCore& core) { return core.ResetPrefixCache(), true; });
}

void ThreadedEngine::StartTrace() {
  Ask<bool>([](EngineCore& core) { return core.StartTrace(), true; });
}

std::string ThreadedEngine::StopTrace() {
  using Trace = std::optional<StepTrace>;
  const std::optional<Trace> trace = Ask<Trace>([](EngineCore& core) { return core.StopTrace(); });
  return trace && *trace ? (*trace)->ToChromeJson(config_.num_engines > 1 ? config_.engine_idx : -1) : "";
}

void ThreadedEngine::SetCost(const CostModel& cost) {
  Ask<bool>([cost](EngineCore& core) { return core.SetCost(cost), true; });
}

void ThreadedEngine::Drain(int64_t timeout_us) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  auto ended = [this] { return num_undelivered_ == 0; };
  if (all_ended_.wait_for(lock, std::chrono::microseconds(timeout_us), ended)) return;
  inbox_.abort_all = true;
  lock.unlock();
  bell_->Ring();
  lock.lock();
  if (!all_ended_.wait_for(lock, std::chrono::microseconds(kAbortWaitUs), ended)) {
    LogError("{} requests have not ended although they were aborted", num_undelivered_);
  }
}

// ---- The engine thread ------------------------------------------------------------------------

OutputSink ThreadedEngine::KeepingBook(std::string request_id, OutputSink sink) {
  return [this, request_id = std::move(request_id), sink = std::move(sink)](RequestOutput output) {
    const bool last = output.finish_reason != FinishReason::kNone;
    const bool first_token = output.num_output_tokens == 1 && !output.token_ids.empty();
    if (last || first_token) {
      // Before the sink: a client that has the answer may use the id again.
      std::lock_guard lock(mutex_);
      last ? admission_.Leave(request_id) : admission_.OnFirstToken(request_id);
    }
    sink(std::move(output));
    if (!last) return;
    std::lock_guard lock(mutex_);
    if (--num_undelivered_ == 0) all_ended_.notify_all();
  };
}

void ThreadedEngine::Run() {
  NameThisThread("engine");
  int64_t next_log_us = StallDetector::kNever;
  for (;;) {
    Inbox inbox = WaitForWork(Earlier(next_log_us, core_.NextWakeUs()));
    const bool stop = inbox.stop;
    busy_since_us_ = NowUs();
    Apply(inbox);
    if (!stop) core_.Tick(NowUs());
    Publish();
    for (const std::function<void()>& question : inbox.questions) question();
    next_log_us = stats_log_.Tick(core_, NowUs());
    busy_since_us_ = 0;
    if (stop) return;
  }
}

ThreadedEngine::Inbox ThreadedEngine::WaitForWork(int64_t until_us) {
  {
    std::unique_lock lock(bell_->mutex);
    auto ringing = [this] { return bell_->ringing; };
    constexpr int64_t kLongestWaitUs = 3'600'000'000;
    if (until_us == StallDetector::kNever) {
      bell_->rung.wait(lock, ringing);
    } else {
      const int64_t wait_us = Earlier(until_us - NowUs(), kLongestWaitUs);
      bell_->rung.wait_for(lock, std::chrono::microseconds(wait_us), ringing);
    }
    bell_->ringing = false;
  }
  std::lock_guard lock(mutex_);
  return std::exchange(inbox_, {});
}

void ThreadedEngine::Apply(Inbox& inbox) {
  for (Arrival& arrival : inbox.arrivals) {
    core_.Admit(std::move(arrival.request), std::move(arrival.sink), arrival.arrival_us);
  }
  num_admitted_ += inbox.arrivals.size();
  const int64_t now_us = NowUs();
  for (const std::string& request_id : inbox.aborts) core_.Abort(request_id, now_us);
  if (inbox.abort_all) core_.AbortAll(now_us);
}

void ThreadedEngine::PublishLoad() {
  std::unique_lock lock(mutex_);
  EngineLoad load = load_;
  lock.unlock();
  core_.UpdateLoad(&load);
  load.num_admitted = num_admitted_;
  lock.lock();
  load_ = std::move(load);
}

void ThreadedEngine::Publish() {
  if (load_wanted_) PublishLoad();
  stall_deadline_us_ = core_.stall_detector().DeadlineUs();
  last_progress_us_ = core_.stall_detector().last_progress_us();
  consecutive_failures_ = core_.consecutive_failures();
  if (core_.failure().ok()) return;
  std::lock_guard lock(mutex_);
  if (failure_.ok()) LogError("The executor has gone: {}", core_.failure().message());
  failure_ = core_.failure();
}

}  // namespace penstock
