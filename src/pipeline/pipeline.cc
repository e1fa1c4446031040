// Threads and queues of the pipeline; the work itself is in stage.cc.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/pipeline.h"

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/affinity.h"
#include "base/check.h"
#include "base/clock.h"

namespace penstock {
namespace {

// The engine plans around steps of some length at the first stage; of the end of a shorter one it is not
// told, which saves a wake-up for each token.
constexpr int64_t kToldStepUs = 5'000;

constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

}  // namespace

Pipeline::Pipeline(const PipelineOptions& options)
    : options_(options), free_hidden_(kUnbounded), results_(kUnbounded) {
  CHECK_GE(options_.num_stages, 1);
  for (int32_t i = 0; i < options_.num_stages; ++i) {
    inboxes_.push_back(std::make_unique<BoundedQueue<StagePacket>>(kUnbounded));
  }
}

Result<std::unique_ptr<Pipeline>> Pipeline::Create(const PipelineOptions& options,
                                                   const RankFactory& make_rank) {
  std::unique_ptr<Pipeline> pipeline(new Pipeline(options));
  BoundedQueue<Status> ready(kUnbounded);
  for (int32_t i = 0; i < options.num_stages; ++i) {
    pipeline->threads_.emplace_back([&, i, self = pipeline.get()] { self->StageLoop(i, make_rank, ready); });
  }
  Status first_error;
  for (int32_t i = 0; i < options.num_stages; ++i) {  // of every stage: they use our arguments until then
    Status status = *ready.Pop();
    if (first_error.ok()) first_error = std::move(status);
  }
  if (!first_error.ok()) return first_error;
  return pipeline;
}

Pipeline::~Pipeline() {
  stopping_ = true;
  free_hidden_.Close();
  for (auto& inbox : inboxes_) inbox->Close();
  for (std::thread& thread : threads_) thread.join();
}

void Pipeline::StageLoop(int32_t stage_idx, const RankFactory& make_rank, BoundedQueue<Status>& ready) {
  NameThisThread("stage." + std::to_string(stage_idx));
  Result<RankRuntime> runtime = make_rank(stage_idx);
  if (!runtime.ok()) {
    ready.Push(runtime.status().WithContext("stage " + std::to_string(stage_idx)));
    return;
  }
  Stage stage(stage_idx, *std::move(runtime), options_.model, cancelled_);
  if (stage_idx == 0) {
    const size_t bytes = DTypeBytes(options_.model.dtype) * options_.model.max_batched_tokens *
                         static_cast<size_t>(stage.model().config().hidden_dim);
    const int32_t count =
        options_.num_hidden_buffers > 0 ? options_.num_hidden_buffers : NumHiddenBuffers(options_.num_stages);
    for (int32_t i = 0; i < count; ++i) {
      Buffer hidden(bytes);
      std::memset(hidden.data(), 0, bytes);  // paged in here, not in the first steps
      free_hidden_.Push(std::move(hidden));
    }
  }
  ready.Push(OkStatus());

  while (std::optional<StagePacket> packet = inboxes_[stage_idx]->Pop()) {
    const int64_t recv_us = NowUs();
    if (stopping_) continue;
    if (stage_idx == 0) {
      std::optional<Buffer> hidden = free_hidden_.Pop();
      if (!hidden) continue;  // stopping
      packet->hidden = *std::move(hidden);
    }
    const int64_t begin_us = NowUs();
    if (stage_idx == 0) first_stage_begin_us_ = begin_us;
    stage.Execute(*packet, recv_us);
    if (stage_idx == 0) {
      first_stage_begin_us_ = 0;
      --first_stage_steps_;
    }
    if (stage_idx + 1 < options_.num_stages) {
      inboxes_[stage_idx + 1]->Push(*std::move(packet));
      if (stage_idx == 0 && NowUs() - begin_us >= kToldStepUs) Notify();
    } else {
      Finish(*std::move(packet));
    }
  }
}

FirstStageLoad Pipeline::FirstStage() const {
  FirstStageLoad load{.num_steps = first_stage_steps_, .begin_us = {}};
  if (const int64_t begin_us = first_stage_begin_us_; begin_us != 0) load.begin_us = begin_us;
  return load;
}

void Pipeline::Finish(StagePacket packet) {
  free_hidden_.Push(std::move(packet.hidden));
  results_.Push(std::move(packet.result));
  Notify();
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
  StagePacket packet;
  packet.result = std::make_unique<StepResult>();
  packet.result->step_id = step->step_id;
  packet.step = std::move(step);
  ++first_stage_steps_;
  inboxes_[0]->Push(std::move(packet));
}

std::unique_ptr<StepResult> Pipeline::Poll() {
  std::optional<std::unique_ptr<StepResult>> result = results_.TryPop();
  if (!result) return nullptr;
  cancelled_.ForgetUpTo((*result)->step_id);
  return *std::move(result);
}

void Pipeline::Cancel(SeqId seq) { cancelled_.Add(seq, last_submitted_); }

}  // namespace penstock
