// Threads of the pipeline; the queues are in lane.cc, the work itself in stage.cc.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/pipeline.h"

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/affinity.h"
#include "base/check.h"

namespace penstock {
namespace {

constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

// Names a rank for people: the lane only where there are several.
std::string RankName(const PipelineOptions& options, int32_t stage_idx, int32_t lane_idx,
                     const char* separator) {
  std::string name = std::to_string(stage_idx);
  if (options.num_lanes > 1) name += separator + std::to_string(lane_idx);
  return name;
}

void AddHiddenBuffers(const PipelineOptions& options, const ModelConfig& config, Lane& lane) {
  const size_t bytes = DTypeBytes(options.model.dtype) * options.model.max_batched_tokens *
                       static_cast<size_t>(config.hidden_dim);
  const int32_t count =
      options.num_hidden_buffers > 0 ? options.num_hidden_buffers : NumHiddenBuffers(options.num_stages);
  for (int32_t i = 0; i < count; ++i) {
    Buffer hidden(bytes);
    std::memset(hidden.data(), 0, bytes);  // paged in here, not in the first steps
    lane.AddHidden(std::move(hidden));
  }
}

}  // namespace

Pipeline::Pipeline(const PipelineOptions& options)
    : options_(options),
      sequence_parallel_min_tokens_(options.sequence_parallel_min_tokens),
      results_(kUnbounded) {
  CHECK(options_.num_stages >= 1 && options_.num_lanes >= 1);
  for (int32_t i = 0; i < options_.num_lanes; ++i) {
    const auto done = [this](StagePacket packet) { Finish(std::move(packet)); };
    std::function<void()> notify;
    if (i == 0) notify = [this] { Notify(); };
    lanes_.push_back(
        std::make_unique<Lane>(options_.num_stages, done, std::move(notify), options_.told_step_us));
  }
}

Result<std::unique_ptr<Pipeline>> Pipeline::Create(const PipelineOptions& options,
                                                   const RankFactory& make_rank) {
  std::unique_ptr<Pipeline> pipeline(new Pipeline(options));
  BoundedQueue<Status> ready(kUnbounded);
  for (int32_t stage = 0; stage < options.num_stages; ++stage) {
    for (int32_t lane = 0; lane < options.num_lanes; ++lane) {
      pipeline->threads_.emplace_back(
          [&, stage, lane, self = pipeline.get()] { self->StageLoop(stage, lane, make_rank, ready); });
    }
  }
  Status first_error;
  for (size_t i = 0; i < pipeline->threads_.size();
       ++i) {  // of every rank: they use our arguments until then
    Status status = *ready.Pop();
    if (first_error.ok()) first_error = std::move(status);
  }
  if (!first_error.ok()) return first_error;
  return pipeline;
}

Pipeline::~Pipeline() {
  cancelled_.CancelAll();
  for (auto& lane : lanes_) lane->first().Close();
  for (std::thread& thread : threads_) thread.join();
}

void Pipeline::StageLoop(int32_t stage_idx, int32_t lane_idx, const RankFactory& make_rank,
                         BoundedQueue<Status>& ready) {
  NameThisThread("stage." + RankName(options_, stage_idx, lane_idx, "."));
  Lane& lane = *lanes_[lane_idx];
  PacketOutlet& outlet = lane.Outlet(stage_idx);
  Result<RankRuntime> runtime = make_rank(stage_idx, lane_idx);
  if (!runtime.ok()) {
    ready.Push(runtime.status().WithContext("stage " + RankName(options_, stage_idx, lane_idx, " lane ")));
    outlet.Close();
    return;
  }
  Stage stage(stage_idx, *std::move(runtime), options_.model, cancelled_, options_.run_empty_steps);
  CHECK_EQ(stage.lane(), lane_idx);
  if (stage_idx == 0) AddHiddenBuffers(options_, stage.model().config(), lane);
  ready.Push(OkStatus());
  while (std::optional<StagePacket> packet = lane.Inlet(stage_idx).Pop()) {
    stage.Execute(*packet);
    outlet.Push(*std::move(packet));
  }
  outlet.Close();
}

FirstStageLoad Pipeline::FirstStage() const { return lanes_[0]->first().Load(); }

void Pipeline::Finish(StagePacket packet) {
  if (packet.result == nullptr || packet.is_void) return;
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
  const bool sequence_parallel =
      sequence_parallel_min_tokens_ && step->num_tokens() >= *sequence_parallel_min_tokens_;
  for (size_t lane = lanes_.size(); lane-- > 0;) {  // lane 0 takes the step itself
    StagePacket packet;
    packet.sequence_parallel = sequence_parallel;
    if (lane == 0) {
      packet.result = std::make_unique<StepResult>();
      packet.result->step_id = step->step_id;
      packet.step = std::move(step);
    } else {
      packet.step = std::make_unique<Step>(*step);
    }
    lanes_[lane]->first().Submit(std::move(packet));
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

void Pipeline::Cancel(SeqId seq) { cancelled_.Add(seq, last_submitted_); }

}  // namespace penstock
