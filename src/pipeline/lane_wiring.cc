// SPDX-License-Identifier: Apache-2.0
#include "pipeline/lane_wiring.h"

#include <utility>

#include "base/check.h"
#include "pipeline/wire.h"

namespace penstock {
namespace {

// Beyond the last stage, away from process 0: the result goes there.
class ResultOutlet : public PacketOutlet {
 public:
  ResultOutlet(const RemoteEnd& to, std::shared_ptr<HeadInlet> head) : to_(to), head_(std::move(head)) {}

  void Push(StagePacket packet) override {
    head_->Return(std::move(packet.hidden));
    if (packet.result == nullptr || packet.is_void) return;
    SendMessage(to_, EncodeResult(*packet.result), nullptr, 0, {});
  }
  void Close() override { SendClose(to_); }

 private:
  const RemoteEnd to_;
  const std::shared_ptr<HeadInlet> head_;
};

class LaneWiring {
 public:
  LaneWiring(const RemoteRanks& remote, int32_t lane)
      : remote_(remote), lane_(lane), num_stages_(remote.map.layout.pp) {
    for (int32_t stage = 0; stage < num_stages_; ++stage) {
      if (remote.map.ProcessOf(Rank(stage)) != remote.process) continue;
      if (count_ == 0) first_ = stage;
      ++count_;
    }
  }

  int32_t first() const { return first_; }
  int32_t count() const { return count_; }  // of the lane's stages in this process; 0: none

  RemoteEnd Submit() const { return PacketsTo(0); }
  std::shared_ptr<HeadInlet> Head() const {
    const int sender = first_ == 0 ? 0 : remote_.map.ProcessOf(Rank(first_ - 1));
    return MakeRemoteInlet({remote_.endpoint, sender, PacketChannel(remote_.map.LocalIndex(Rank(first_)))},
                           remote_.on_error);
  }
  // `done`: of process 0, null elsewhere.
  std::unique_ptr<PacketOutlet> Tail(std::shared_ptr<HeadInlet> head,
                                     const std::function<void(StagePacket)>& done) const {
    const int32_t last = first_ + count_ - 1;
    if (last + 1 < num_stages_) {
      return MakeRemoteOutlet(PacketsTo(last + 1), std::move(head), remote_.synchronous_sends);
    }
    if (done) return std::make_unique<LastOutlet>(std::move(head), done);
    if (lane_ > 0) return std::make_unique<LastOutlet>(std::move(head), [](StagePacket) {});
    const RemoteEnd to{remote_.endpoint, 0, ResultChannel(remote_.map.LocalIndex(Rank(last)))};
    return std::make_unique<ResultOutlet>(to, std::move(head));
  }

 private:
  int32_t Rank(int32_t stage) const {
    const ParallelLayout& layout = remote_.map.layout;
    return RankOf(layout, {remote_.replica, stage, lane_ / layout.tp, lane_ % layout.tp});
  }
  RemoteEnd PacketsTo(int32_t stage) const {
    const int32_t rank = Rank(stage);
    return {remote_.endpoint, remote_.map.ProcessOf(rank), PacketChannel(remote_.map.LocalIndex(rank))};
  }

  const RemoteRanks& remote_;
  const int32_t lane_;
  const int32_t num_stages_;
  int32_t first_ = 0;
  int32_t count_ = 0;
};

}  // namespace

WiredLanes WireSubmitter(int32_t num_stages, int32_t num_lanes, const RemoteRanks* remote,
                         const std::function<void(StagePacket)>& done, std::function<void()> notify,
                         int64_t told_step_us) {
  WiredLanes wired;
  wired.lanes.resize(num_lanes);
  wired.firsts.resize(num_lanes);
  wired.submits.resize(num_lanes);
  for (int32_t i = 0; i < num_lanes; ++i) {
    const std::function<void()> tell = i == 0 && num_stages > 1 ? std::move(notify) : nullptr;
    auto first = std::make_shared<FirstInlet>();
    if (remote == nullptr) {
      wired.lanes[i] = std::make_unique<Lane>(num_stages, first, std::make_unique<LastOutlet>(first, done),
                                              tell, told_step_us);
      wired.firsts[i] = std::move(first);
      continue;
    }
    const LaneWiring wiring(*remote, i);
    if (wiring.count() == 0 || wiring.first() > 0) {
      CHECK_EQ(wiring.count(), 0) << "a later stage of process 0 without its first";
      wired.submits[i] = wiring.Submit();
      continue;
    }
    wired.lanes[i] =
        std::make_unique<Lane>(wiring.count(), first, wiring.Tail(first, done), tell, told_step_us);
    wired.firsts[i] = std::move(first);
  }
  return wired;
}

std::vector<int32_t> WorkersOf(const RemoteRanks& remote) {
  const int32_t num_ranks = remote.map.layout.ranks_per_replica();
  std::vector<int32_t> workers;
  for (int32_t rank = remote.replica * num_ranks; rank < (remote.replica + 1) * num_ranks; ++rank) {
    const int32_t process = remote.map.ProcessOf(rank);
    if (process != 0 && (workers.empty() || workers.back() != process)) workers.push_back(process);
  }
  return workers;
}

std::vector<std::unique_ptr<Lane>> WireWorker(const RemoteRanks& remote) {
  std::vector<std::unique_ptr<Lane>> lanes(remote.map.layout.ranks_per_stage());
  for (size_t i = 0; i < lanes.size(); ++i) {
    const LaneWiring wiring(remote, static_cast<int32_t>(i));
    if (wiring.count() == 0) continue;
    std::shared_ptr<HeadInlet> head = wiring.Head();
    std::unique_ptr<PacketOutlet> tail = wiring.Tail(head, nullptr);
    lanes[i] = std::make_unique<Lane>(wiring.first(), wiring.count(), std::move(head), std::move(tail));
    if (i > 0 || wiring.first() > 0) continue;
    const auto tell = [to = RemoteEnd{remote.endpoint, 0, kNewsChannel}, replica = remote.replica] {
      SendMessage(to, std::as_bytes(std::span(&replica, 1)), nullptr, 0, {});
    };
    lanes[i]->TellOfFirst(tell);
  }
  return lanes;
}

}  // namespace penstock
