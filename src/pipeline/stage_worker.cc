// SPDX-License-Identifier: Apache-2.0
#include "pipeline/stage_worker.h"

#include <algorithm>
#include <utility>

#include "pipeline/remote_link.h"

namespace penstock {
namespace {

// Of each lane: one step is computed, one is sent, and two are received.
int32_t NumBuffers(const std::vector<std::unique_ptr<Lane>>& lanes) {
  int32_t stages = 0;
  for (const auto& lane : lanes) {
    if (lane != nullptr) stages = std::max(stages, lane->num_stages());
  }
  return stages + 3;
}

}  // namespace

Result<std::unique_ptr<StageWorker>> StageWorker::Start(const RemoteRanks& remote,
                                                        const StageWorkerOptions& options,
                                                        const RankFactory& make_rank) {
  std::unique_ptr<StageWorker> worker(new StageWorker(remote));
  worker->lanes_ = WireWorker(worker->remote_);
  worker->threads_ =
      std::make_unique<RankThreads>(RankThreadsOptions{.model = options.model,
                                                       .has_lanes = worker->lanes_.size() > 1,
                                                       .num_hidden_buffers = NumBuffers(worker->lanes_),
                                                       .run_empty_steps = options.run_empty_steps,
                                                       .forget = worker->cancelled_.get()},
                                    worker->lanes_, *worker->cancelled_);
  const auto on_order = [remote, cancelled = worker->cancelled_,
                         live = worker->threads_->live()](std::span<const std::byte> bytes) {
    const Result<Order> order = DecodeOrder(bytes);
    if (!order.ok()) return remote.on_error(order.status().WithContext("an order"));
    switch (order->kind) {
      case Order::Kind::kCancel:
        return cancelled->Add(order->seq, order->last_step_id);
      case Order::Kind::kStop:
        return cancelled->CancelAll();
      case Order::Kind::kCount: {
        CountersAnswer answer{order->question, live->Counters()};
        answer.counters.handover_bytes = remote.endpoint->sent_bytes();
        SendMessage({remote.endpoint, 0, kCountersChannel}, EncodeCounters(answer), nullptr, 0, {});
      }
    }
  };
  ReceiveMessages({remote.endpoint, 0, kOrderChannel}, on_order, remote.on_error);
  RETURN_IF_ERROR(worker->threads_->Start(make_rank));
  return worker;
}

void SendOrder(const RemoteRanks& remote, Order order) {
  order.replica = remote.replica;
  for (const int32_t process : WorkersOf(remote)) {
    SendMessage({remote.endpoint, process, kOrderChannel}, EncodeOrder(order), nullptr, 0, {});
  }
}

}  // namespace penstock
