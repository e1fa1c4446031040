// SPDX-License-Identifier: Apache-2.0
#include "pipeline/rank_threads.h"

#include <cstring>
#include <limits>
#include <utility>

#include "base/affinity.h"
#include "base/check.h"

namespace penstock {

RankThreads::RankThreads(const RankThreadsOptions& options, const std::vector<std::unique_ptr<Lane>>& lanes,
                         const CancelSet& cancelled)
    : options_(options), lanes_(lanes), cancelled_(cancelled) {}

RankThreads::~RankThreads() {
  for (std::thread& thread : threads_) thread.join();
}

Status RankThreads::Start(const RankFactory& make_rank) {
  BoundedQueue<Status> ready(std::numeric_limits<size_t>::max());
  for (size_t idx = 0; idx < lanes_.size(); ++idx) {
    if (lanes_[idx] == nullptr) continue;
    for (int32_t i = 0; i < lanes_[idx]->num_stages(); ++i) {
      const int32_t stage = lanes_[idx]->first_stage() + i, lane = static_cast<int32_t>(idx);
      threads_.emplace_back([this, stage, lane, &make_rank, &ready] { Run(stage, lane, make_rank, ready); });
    }
  }
  Status first_error;
  for (size_t i = 0; i < threads_.size(); ++i) {  // of every rank: they use our arguments until then
    Status status = *ready.Pop();
    if (first_error.ok()) first_error = std::move(status);
  }
  return first_error;
}

std::string RankThreads::Name(int32_t stage_idx, int32_t lane_idx, const char* separator) const {
  std::string name = std::to_string(stage_idx);
  if (options_.has_lanes) name += separator + std::to_string(lane_idx);
  return name;
}

void RankThreads::AddHiddenBuffers(const ModelConfig& config, Lane& lane) const {
  const size_t bytes = DTypeBytes(options_.model.dtype) * options_.model.max_batched_tokens *
                       static_cast<size_t>(config.hidden_dim);
  for (int32_t i = 0; i < options_.num_hidden_buffers; ++i) {
    Buffer hidden(bytes);
    std::memset(hidden.data(), 0, bytes);  // paged in here, not in the first steps
    lane.head().Return(std::move(hidden));
  }
}

void RankThreads::Run(int32_t stage_idx, int32_t lane_idx, const RankFactory& make_rank,
                      BoundedQueue<Status>& ready) {
  NameThisThread("stage." + Name(stage_idx, lane_idx, "."));
  Lane& lane = *lanes_[lane_idx];
  PacketOutlet& outlet = lane.Outlet(stage_idx);
  Result<RankRuntime> runtime = make_rank(stage_idx, lane_idx);
  if (!runtime.ok()) {
    ready.Push(runtime.status().WithContext("stage " + Name(stage_idx, lane_idx, " lane ")));
    outlet.Close();
    return;
  }
  Stage stage(stage_idx, *std::move(runtime), options_.model, cancelled_, options_.run_empty_steps);
  CHECK_EQ(stage.lane(), lane_idx);
  if (stage_idx == lane.first_stage()) AddHiddenBuffers(stage.model().config(), lane);
  live_->Add(stage);
  ready.Push(OkStatus());
  const bool is_last = stage_idx + 1 == lane.first_stage() + lane.num_stages();
  while (std::optional<StagePacket> packet = lane.Inlet(stage_idx).Pop()) {
    stage.Execute(*packet);
    const uint64_t step_id = packet->step->step_id;
    outlet.Push(*std::move(packet));
    if (options_.forget != nullptr && is_last) options_.forget->ForgetUpTo(step_id);
  }
  live_->Remove(stage);
  outlet.Close();
}

}  // namespace penstock
