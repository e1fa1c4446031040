// The lanes of one replica as far as they are in one process, and how they meet those of other processes.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/message_channel.h"
#include "pipeline/lane.h"
#include "pipeline/process_map.h"
#include "pipeline/remote_link.h"

namespace penstock {

// A job of several processes, as one of them sees it. Process 0 has the engine.
struct RemoteRanks {
  MessageEndpoint* endpoint = nullptr;
  ProcessMap map;
  int32_t process = 0;
  int32_t replica = 0;
  bool synchronous_sends = false;
  LinkError on_error;  // what another process sent makes no sense
};

// The channels of a pair of processes: by the local index of the rank that a packet goes to, or a result
// comes from.
constexpr int32_t kMaxRanksOfProcess = 30;
constexpr int PacketChannel(int32_t local_index) { return local_index; }
constexpr int ResultChannel(int32_t local_index) { return kMaxRanksOfProcess + local_index; }
constexpr int kOrderChannel = 2 * kMaxRanksOfProcess;     // process 0 to a worker (wire.h)
constexpr int kNewsChannel = 2 * kMaxRanksOfProcess + 1;  // a worker to process 0: stage 0 has ended a step
constexpr int kCountersChannel = 2 * kMaxRanksOfProcess + 2;  // a worker to process 0: what it has counted
static_assert(kCountersChannel < kWatchChannel);

// The processes besides process 0 that have ranks of the replica.
std::vector<int32_t> WorkersOf(const RemoteRanks& remote);

// [num_lanes], null where no rank of the lane is in this process. `remote` null: all of them are.
struct WiredLanes {
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<std::shared_ptr<FirstInlet>> firsts;  // where steps are submitted; null: see submits
  std::vector<RemoteEnd> submits;                   // where they are sent instead
};

// For process 0. `done` gets every packet of its own lanes that has passed all stages; `notify` is called
// when stage 0 has ended a step that took at least `told_step_us`, and there is another stage. Both from the
// ranks' threads.
WiredLanes WireSubmitter(int32_t num_stages, int32_t num_lanes, const RemoteRanks* remote,
                         const std::function<void(StagePacket)>& done, std::function<void()> notify,
                         int64_t told_step_us);

// For the others.
std::vector<std::unique_ptr<Lane>> WireWorker(const RemoteRanks& remote);

}  // namespace penstock
