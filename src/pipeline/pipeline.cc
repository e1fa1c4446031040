// What is submitted and what comes back; the queues are in lane.cc, the threads in rank_threads.cc, the work
// itself in stage.cc.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/pipeline.h"

#include <algorithm>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/clock.h"
#include "pipeline/stage_worker.h"
#include "pipeline/wire.h"

namespace penstock {
namespace {

constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

}  // namespace

Pipeline::Pipeline(const PipelineOptions& options)
    : options_(options),
      sequence_parallel_min_tokens_(options.sequence_parallel_min_tokens),
      results_(kUnbounded),
      late_notices_(kUnbounded) {
  CHECK(options_.num_stages >= 1 && options_.num_lanes >= 1);
  const auto done = [this](StagePacket packet) {
    if (packet.result != nullptr && !packet.is_void) Finish(std::move(packet.result));
  };
  wired_ = WireSubmitter(
      options_.num_stages, options_.num_lanes, options_.remote ? &*options_.remote : nullptr, done,
      [this] { Notify(); }, options_.told_step_us);
}

Result<std::unique_ptr<Pipeline>> Pipeline::Create(const PipelineOptions& options,
                                                   const RankFactory& make_rank) {
  std::unique_ptr<Pipeline> pipeline(new Pipeline(options));
  const int32_t buffers =
      options.num_hidden_buffers > 0 ? options.num_hidden_buffers : NumHiddenBuffers(options.num_stages);
  pipeline->threads_ =
      std::make_unique<RankThreads>(RankThreadsOptions{.model = options.model,
                                                       .has_lanes = options.num_lanes > 1,
                                                       .num_hidden_buffers = buffers,
                                                       .run_empty_steps = options.run_empty_steps},
                                    pipeline->wired_.lanes, pipeline->cancelled_);
  RETURN_IF_ERROR(pipeline->threads_->Start(make_rank));
  if (options.remote) {
    pipeline->ListenToWorkers();
    pipeline->remote_counters_ = std::make_unique<RemoteCounters>(*options.remote);
  }
  return pipeline;
}

Pipeline::~Pipeline() {
  late_notices_.Close();
  if (late_notifier_.joinable()) late_notifier_.join();
  cancelled_.CancelAll();
  if (options_.remote) SendOrder(*options_.remote, {.kind = Order::Kind::kStop});
  for (size_t lane = 0; lane < wired_.firsts.size(); ++lane) {
    if (wired_.firsts[lane] != nullptr) {
      wired_.firsts[lane]->Close();
    } else {
      SendClose(wired_.submits[lane]);
    }
  }
  threads_.reset();
  EndListening();
}

void Pipeline::ListenToWorkers() {
  const RemoteRanks& remote = *options_.remote;
  const ParallelLayout& layout = remote.map.layout;
  ear_->pipeline = this;
  ear_->results_end = true;
  const int32_t last = RankOf(layout, {.dp = remote.replica, .pp = layout.pp - 1});
  if (const int32_t process = remote.map.ProcessOf(last); process != remote.process) {
    ear_->results_end = false;
    const auto on_result = [ear = ear_](std::span<const std::byte> bytes) {
      std::lock_guard lock(ear->mutex);
      if (ear->pipeline == nullptr) return;
      Result<StepResult> result = DecodeResult(bytes);
      if (!result.ok()) {
        return ear->pipeline->options_.remote->on_error(result.status().WithContext("a result"));
      }
      ear->pipeline->Finish(std::make_unique<StepResult>(*std::move(result)));
    };
    const auto on_close = [ear = ear_] {
      std::lock_guard lock(ear->mutex);
      ear->results_end = true;
      ear->changed.notify_all();
    };
    ReceiveMessages({remote.endpoint, process, ResultChannel(remote.map.LocalIndex(last))}, on_result,
                    remote.on_error, on_close);
  }
  if (wired_.firsts[0] != nullptr) return;
  const auto on_news = [ear = ear_](std::span<const std::byte>) {
    std::lock_guard lock(ear->mutex);
    if (ear->pipeline != nullptr) ear->pipeline->RemoteFirstEnded();
  };
  const int32_t first = RankOf(layout, {.dp = remote.replica});
  ReceiveMessages({remote.endpoint, remote.map.ProcessOf(first), kNewsChannel}, on_news, remote.on_error);
}

void Pipeline::EndListening() {
  std::unique_lock lock(ear_->mutex);
  if (ear_->pipeline == nullptr) return;
  if (Failure().ok()) ear_->changed.wait(lock, [&] { return ear_->results_end; });
  ear_->pipeline = nullptr;
}

FirstStageLoad Pipeline::FirstStage() const {
  if (wired_.firsts[0] != nullptr) return wired_.firsts[0]->Load();
  std::lock_guard lock(remote_first_mutex_);
  return remote_first_;
}

void Pipeline::RemoteFirstEnded() {
  std::unique_lock lock(remote_first_mutex_);
  const int64_t now_us = NowUs();
  // The clocks of two cores may differ by a little.
  const int64_t took_us = std::max<int64_t>(0, now_us - remote_first_.begin_us.value_or(now_us));
  const bool was_long = took_us >= options_.told_step_us;
  --remote_first_.num_steps;
  remote_first_.begin_us.reset();
  if (remote_first_.num_steps > 0) remote_first_.begin_us = now_us;
  lock.unlock();
  if (was_long) Notify();
}

RankCounters Pipeline::Counters() const {
  constexpr int64_t kAnswerUs = 1'000'000;
  RankCounters sum = threads_->live()->Counters();
  if (remote_counters_ == nullptr) return sum;
  const RemoteRanks& remote = *options_.remote;
  // Its endpoint is this process's, whose ranks are of one replica.
  if (remote.map.ProcessOf(remote.replica * remote.map.layout.ranks_per_replica()) == remote.process) {
    sum.handover_bytes += remote.endpoint->sent_bytes();
  }
  sum.Add(Failure().ok() ? remote_counters_->Ask(kAnswerUs) : remote_counters_->Latest());
  return sum;
}

void Pipeline::Finish(std::unique_ptr<StepResult> result) {
  {
    std::lock_guard lock(in_flight_mutex_);
    if (!failure_.ok()) return;  // it has ended with that
    CHECK(!in_flight_.empty() && in_flight_.front() == result->step_id) << result->step_id;
    in_flight_.pop_front();
  }
  results_.Push(std::move(result));
  Notify();
}

void Pipeline::Fail(const Status& status) {
  std::deque<uint64_t> ended;
  {
    std::lock_guard lock(in_flight_mutex_);
    if (!failure_.ok()) return;
    failure_ = status;
    ended.swap(in_flight_);
  }
  for (const uint64_t step_id : ended) {
    auto result = std::make_unique<StepResult>();
    result->step_id = step_id;
    result->status = status;
    results_.Push(std::move(result));
  }
  Notify();
}

Status Pipeline::Failure() const {
  std::lock_guard lock(in_flight_mutex_);
  return failure_;
}

void Pipeline::Notify() {
  std::unique_lock lock(notify_mutex_);
  const auto notify = notify_;  // called without the lock, and kept until it has returned
  lock.unlock();
  if (notify) (*notify)();
}

void Pipeline::SetNotify(std::function<void()> notify) {
  std::lock_guard lock(notify_mutex_);
  notify_ = notify ? std::make_shared<const std::function<void()>>(std::move(notify)) : nullptr;
}

void Pipeline::Submit(std::unique_ptr<Step> step) {
  last_submitted_ = step->step_id;
  {
    std::unique_lock lock(in_flight_mutex_);
    if (!failure_.ok()) {
      auto result = std::make_unique<StepResult>();
      result->step_id = step->step_id;
      result->status = failure_;
      lock.unlock();
      results_.Push(std::move(result));
      // Not from here: the caller may hold what the function wants.
      if (!late_notifier_.joinable()) {
        late_notifier_ = std::thread([this] {
          while (late_notices_.Pop()) Notify();
        });
      }
      late_notices_.Push(true);
      return;
    }
    in_flight_.push_back(step->step_id);
  }
  const bool sequence_parallel =
      sequence_parallel_min_tokens_ && step->num_tokens() >= *sequence_parallel_min_tokens_;
  for (size_t lane = wired_.firsts.size(); lane-- > 0;) {  // lane 0 takes the step itself
    StagePacket packet;
    packet.sequence_parallel = sequence_parallel;
    if (lane == 0) {
      packet.result = std::make_unique<StepResult>();
      packet.result->step_id = step->step_id;
      packet.step = std::move(step);
    } else {
      packet.step = std::make_unique<Step>(*step);
    }
    if (wired_.firsts[lane] != nullptr) {
      wired_.firsts[lane]->Submit(std::move(packet));
      continue;
    }
    if (lane == 0) {
      std::lock_guard lock(remote_first_mutex_);
      if (remote_first_.num_steps++ == 0) remote_first_.begin_us = NowUs();
    }
    SendMessage(wired_.submits[lane], EncodePacket(packet), nullptr, 0, {});
  }
}

void Pipeline::SetSequenceParallelMinTokens(std::optional<int32_t> min_tokens) {
  sequence_parallel_min_tokens_ = min_tokens;
}

std::unique_ptr<StepResult> Pipeline::Poll() {
  std::optional<std::unique_ptr<StepResult>> result = results_.TryPop();
  if (!result) return nullptr;
  cancelled_.ForgetUpTo((*result)->step_id);
  return *std::move(result);
}

void Pipeline::Cancel(SeqId seq) {
  cancelled_.Add(seq, last_submitted_);
  if (options_.remote) SendOrder(*options_.remote, {.seq = seq, .last_step_id = last_submitted_});
}

}  // namespace penstock
