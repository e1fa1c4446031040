// Lane: what is between the ranks of one place in all stages of a pipeline, in one process.
//
//   Submit ─▶ [submitted] ─▶ rank of stage 0 ─▶ [queue] ─▶ rank of stage 1 ─▶ … ─▶ last rank ─▶ done
//                  ▲ a free buffer                                                    │
//                  └──────────────────────────────────────────────────────────────────┘
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "pipeline/packet.h"
#include "plan/executor.h"

namespace penstock {

// Between two stages of one process: a pointer moves.
class PacketQueue : public PacketInlet, public PacketOutlet {
 public:
  PacketQueue();
  std::optional<StagePacket> Pop() override;
  void Push(StagePacket packet) override { packets_.Push(std::move(packet)); }
  void Close() override { packets_.Close(); }

 private:
  BoundedQueue<StagePacket> packets_;
};

// What has been submitted to stage 0. Packets get their buffer here.
class FirstInlet : public PacketInlet {
 public:
  explicit FirstInlet(BoundedQueue<Buffer>& free_hidden);
  void Submit(StagePacket packet);
  void Close() { submitted_.Close(); }
  std::optional<StagePacket> Pop() override;

  // What is before the stage and on it. Thread-safe.
  FirstStageLoad Load() const;
  int64_t EndStep();  // when it had begun

 private:
  BoundedQueue<StagePacket> submitted_;
  BoundedQueue<Buffer>& free_hidden_;
  std::atomic<int32_t> num_steps_{0};
  std::atomic<int64_t> begin_us_{0};  // 0: it works on nothing
};

// Beyond stage 0: before a packet goes on, the inlet is told that its step has ended; `notify` is called
// where it took at least `told_step_us`.
class FirstOutlet : public PacketOutlet {
 public:
  FirstOutlet(FirstInlet& inlet, PacketOutlet& next, std::function<void()> notify, int64_t told_step_us);
  void Push(StagePacket packet) override;
  void Close() override { next_.Close(); }

 private:
  FirstInlet& inlet_;
  PacketOutlet& next_;
  const std::function<void()> notify_;
  const int64_t told_step_us_;
};

// Beyond the last stage: the buffer goes back, the rest to `done`.
class LastOutlet : public PacketOutlet {
 public:
  LastOutlet(BoundedQueue<Buffer>& free_hidden, std::function<void(StagePacket)> done);
  void Push(StagePacket packet) override;
  void Close() override {}

 private:
  BoundedQueue<Buffer>& free_hidden_;
  const std::function<void(StagePacket)> done_;
};

// All of a lane. Each end is used by one thread.
class Lane {
 public:
  // `done` gets every packet that has passed all stages; `notify` is called when stage 0 has ended a step
  // that took at least `told_step_us`, and there is another stage. Both from the ranks' threads.
  Lane(int32_t num_stages, std::function<void(StagePacket)> done, std::function<void()> notify,
       int64_t told_step_us);

  FirstInlet& first() { return first_; }
  const FirstInlet& first() const { return first_; }
  void AddHidden(Buffer hidden) { free_hidden_.Push(std::move(hidden)); }
  PacketInlet& Inlet(int32_t stage);
  PacketOutlet& Outlet(int32_t stage);

 private:
  BoundedQueue<Buffer> free_hidden_;
  FirstInlet first_;
  LastOutlet last_;
  std::vector<std::unique_ptr<PacketQueue>> between_;  // [num_stages - 1]
  FirstOutlet first_outlet_;
};

}  // namespace penstock
