// TrafficSource: sends the requests of a workload to an engine, or to replicas of one, in virtual time, and
// keeps what becomes of them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "sim/backlog_router.h"
#include "sim/run_until_idle.h"
#include "sim/workload.h"

namespace penstock {

class TrafficSource : public EventSource {
 public:
  // Arrivals count from `start_us`. Token ids of prompts: of the cached part the same for all requests (block
  // by block, so the cached length is rounded to blocks), of the rest one that no other request has: the
  // first request's is `first_own_id`.
  TrafficSource(Traffic traffic, int64_t start_us, int32_t block_size, TokenId first_own_id);

  // Which replica requests go to: all to one (the first, unless it is said), or where `router` says, which
  // outlives it.
  void SendTo(size_t replica) { replica_ = replica; }
  void SendTo(BacklogRouter& router) { router_ = &router; }

  std::optional<int64_t> NextUs() const override;
  size_t Replica() override;
  void HappenNext(EngineCore& core, int64_t now_us) override;

  // The last output of each request, in the order of Traffic::requests; how many of them have ended.
  const std::vector<RequestOutput>& outputs() const { return outputs_; }
  size_t num_ended() const { return num_ended_; }

 private:
  Request MakeRequest(size_t idx) const;
  // A client takes the next request, if there is one.
  void BeginNext(int64_t now_us);

  const Traffic traffic_;
  const int64_t start_us_;
  const int32_t block_size_;
  const TokenId first_own_id_;
  BacklogRouter* router_ = nullptr;
  size_t replica_ = 0;
  size_t next_ = 0;
  std::set<std::pair<int64_t, size_t>> due_;  // closed loop: when clients send which requests
  std::vector<RequestOutput> outputs_;
  size_t num_ended_ = 0;
};

}  // namespace penstock
