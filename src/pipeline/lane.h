// Lane: what is between the ranks of one place in the stages of a pipeline, as far as they are in one
// process.
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
class FirstInlet : public HeadInlet {
 public:
  FirstInlet();
  void Submit(StagePacket packet);
  void Close() { submitted_.Close(); }
  std::optional<StagePacket> Pop() override;
  void Return(Buffer hidden) override { free_hidden_.Push(std::move(hidden)); }

  // What is before the stage and on it. Thread-safe.
  FirstStageLoad Load() const;
  int64_t EndStep();  // when it had begun

 private:
  BoundedQueue<StagePacket> submitted_;
  BoundedQueue<Buffer> free_hidden_;
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

// Beyond stage 0 of a process without a pipeline: `tell` is called before a packet goes on.
class TellingOutlet : public PacketOutlet {
 public:
  TellingOutlet(PacketOutlet& next, std::function<void()> tell) : next_(next), tell_(std::move(tell)) {}
  void Push(StagePacket packet) override {
    tell_();
    next_.Push(std::move(packet));
  }
  void Close() override { next_.Close(); }

 private:
  PacketOutlet& next_;
  const std::function<void()> tell_;
};

// Beyond the last stage: the buffer goes back, the rest to `done`.
class LastOutlet : public PacketOutlet {
 public:
  LastOutlet(std::shared_ptr<HeadInlet> head, std::function<void(StagePacket)> done);
  void Push(StagePacket packet) override;
  void Close() override {}

 private:
  const std::shared_ptr<HeadInlet> head_;
  const std::function<void(StagePacket)> done_;
};

// All of a lane that is in this process: neighbouring stages. Each end is used by one thread.
class Lane {
 public:
  // Stages [first_stage, first_stage + num_stages) between `head` and `tail`.
  Lane(int32_t first_stage, int32_t num_stages, std::shared_ptr<HeadInlet> head,
       std::unique_ptr<PacketOutlet> tail);
  // The same from stage 0 on, with what is submitted; `notify` is called when stage 0 has ended a step that
  // took at least `told_step_us`, and there is another stage.
  Lane(int32_t num_stages, std::shared_ptr<FirstInlet> first, std::unique_ptr<PacketOutlet> tail,
       std::function<void()> notify, int64_t told_step_us);

  // `tell` is called when the first stage here has ended a step. Before anything else is done with the lane.
  void TellOfFirst(std::function<void()> tell);

  int32_t first_stage() const { return first_stage_; }
  int32_t num_stages() const { return static_cast<int32_t>(between_.size()) + 1; }
  HeadInlet& head() { return *head_; }
  PacketInlet& Inlet(int32_t stage);
  PacketOutlet& Outlet(int32_t stage);

 private:
  PacketOutlet& BeyondFirst();

  const int32_t first_stage_;
  const std::shared_ptr<HeadInlet> head_;
  const std::unique_ptr<PacketOutlet> tail_;
  std::vector<std::unique_ptr<PacketQueue>> between_;  // [num_stages - 1]
  std::unique_ptr<PacketOutlet> first_outlet_;         // before BeyondFirst(); null: not needed
};

}  // namespace penstock
