// SPDX-License-Identifier: Apache-2.0
#include "pipeline/lane.h"

#include <limits>

#include "base/clock.h"

namespace penstock {
namespace {

constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

std::vector<std::unique_ptr<PacketQueue>> MakeQueues(int32_t count) {
  std::vector<std::unique_ptr<PacketQueue>> queues;
  for (int32_t i = 0; i < count; ++i) queues.push_back(std::make_unique<PacketQueue>());
  return queues;
}

}  // namespace

PacketQueue::PacketQueue() : packets_(kUnbounded) {}

std::optional<StagePacket> PacketQueue::Pop() {
  std::optional<StagePacket> packet = packets_.Pop();
  if (packet) packet->recv_us = NowUs();
  return packet;
}

FirstInlet::FirstInlet() : submitted_(kUnbounded), free_hidden_(kUnbounded) {}

void FirstInlet::Submit(StagePacket packet) {
  ++num_steps_;
  submitted_.Push(std::move(packet));
}

std::optional<StagePacket> FirstInlet::Pop() {
  std::optional<StagePacket> packet = submitted_.Pop();
  if (!packet) return packet;
  packet->recv_us = NowUs();
  packet->hidden = *free_hidden_.Pop();
  begin_us_ = NowUs();
  return packet;
}

FirstStageLoad FirstInlet::Load() const {
  FirstStageLoad load{.num_steps = num_steps_, .begin_us = {}};
  if (const int64_t begin_us = begin_us_; begin_us != 0) load.begin_us = begin_us;
  return load;
}

int64_t FirstInlet::EndStep() {
  const int64_t begin_us = begin_us_.exchange(0);
  --num_steps_;
  return begin_us;
}

FirstOutlet::FirstOutlet(FirstInlet& inlet, PacketOutlet& next, std::function<void()> notify,
                         int64_t told_step_us)
    : inlet_(inlet), next_(next), notify_(std::move(notify)), told_step_us_(told_step_us) {}

void FirstOutlet::Push(StagePacket packet) {
  const int64_t begin_us = inlet_.EndStep();
  next_.Push(std::move(packet));
  if (notify_ && NowUs() - begin_us >= told_step_us_) notify_();
}

LastOutlet::LastOutlet(std::shared_ptr<HeadInlet> head, std::function<void(StagePacket)> done)
    : head_(std::move(head)), done_(std::move(done)) {}

void LastOutlet::Push(StagePacket packet) {
  head_->Return(std::move(packet.hidden));
  done_(std::move(packet));
}

Lane::Lane(int32_t first_stage, int32_t num_stages, std::shared_ptr<HeadInlet> head,
           std::unique_ptr<PacketOutlet> tail)
    : first_stage_(first_stage),
      head_(std::move(head)),
      tail_(std::move(tail)),
      between_(MakeQueues(num_stages - 1)) {}

Lane::Lane(int32_t num_stages, std::shared_ptr<FirstInlet> first, std::unique_ptr<PacketOutlet> tail,
           std::function<void()> notify, int64_t told_step_us)
    : Lane(0, num_stages, first, std::move(tail)) {
  first_outlet_ = std::make_unique<FirstOutlet>(*first, BeyondFirst(), std::move(notify), told_step_us);
}

void Lane::TellOfFirst(std::function<void()> tell) {
  first_outlet_ = std::make_unique<TellingOutlet>(BeyondFirst(), std::move(tell));
}

PacketOutlet& Lane::BeyondFirst() {
  if (between_.empty()) return *tail_;
  return *between_[0];
}

PacketInlet& Lane::Inlet(int32_t stage) {
  if (stage == first_stage_) return *head_;
  return *between_[stage - first_stage_ - 1];
}

PacketOutlet& Lane::Outlet(int32_t stage) {
  if (stage == first_stage_ && first_outlet_ != nullptr) return *first_outlet_;
  const auto local = static_cast<size_t>(stage - first_stage_);
  if (local == between_.size()) return *tail_;
  return *between_[local];
}

}  // namespace penstock
