// SPDX-License-Identifier: Apache-2.0
#include "pipeline/stage_worker.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace penstock {
namespace {

struct Order {
  int32_t replica = 0;
  uint8_t is_stop = 0;
  SeqId seq = 0;
  uint64_t last_step_id = 0;
};

Result<Order> DecodeOrder(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Order order;
  ASSIGN_OR_RETURN(order.replica, reader.Read<int32_t>());
  ASSIGN_OR_RETURN(order.is_stop, reader.Read<uint8_t>());
  ASSIGN_OR_RETURN(order.seq, reader.Read<SeqId>());
  ASSIGN_OR_RETURN(order.last_step_id, reader.Read<uint64_t>());
  return order;
}

void SendOrder(const RemoteRanks& remote, const Order& order) {
  ByteWriter writer;
  writer.Write(order.replica);
  writer.Write(order.is_stop);
  writer.Write(order.seq);
  writer.Write(order.last_step_id);
  const ParallelLayout& layout = remote.map.layout;
  std::set<int32_t> workers;
  for (int32_t i = 0; i < layout.ranks_per_replica(); ++i) {
    workers.insert(remote.map.ProcessOf(remote.replica * layout.ranks_per_replica() + i));
  }
  for (const int32_t process : workers) {
    if (process == remote.process) continue;
    SendMessage({remote.endpoint, process, kOrderChannel}, writer.bytes(), nullptr, 0, {});
  }
}

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
  const auto on_order = [remote, cancelled = worker->cancelled_](std::span<const std::byte> bytes) {
    const Result<Order> order = DecodeOrder(bytes);
    if (!order.ok()) return remote.on_error(order.status().WithContext("an order"));
    if (order->is_stop != 0) return cancelled->CancelAll();
    cancelled->Add(order->seq, order->last_step_id);
  };
  ReceiveMessages({remote.endpoint, 0, kOrderChannel}, on_order, remote.on_error);
  RETURN_IF_ERROR(worker->threads_->Start(make_rank));
  return worker;
}

void SendCancelOrder(const RemoteRanks& remote, SeqId seq, uint64_t last_step_id) {
  SendOrder(remote, {.replica = remote.replica, .seq = seq, .last_step_id = last_step_id});
}

void SendStopOrder(const RemoteRanks& remote) {
  SendOrder(remote, {.replica = remote.replica, .is_stop = 1});
}

}  // namespace penstock
