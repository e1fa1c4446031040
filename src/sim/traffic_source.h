// TrafficSource: sends the requests of a workload to an engine in virtual time, and keeps what becomes of
// them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "sim/run_until_idle.h"
#include "sim/workload.h"

namespace penstock {

class TrafficSource : public EventSource {
 public:
  // Arrivals count from `start_us`. Token ids of prompts: of the cached part the same for all requests (block
  // by block, so the cached length is rounded to blocks), of the rest one that no other request has: the
  // first request's is `first_own_id`.
  TrafficSource(Traffic traffic, int64_t start_us, int32_t block_size, TokenId first_own_id);

  std::optional<int64_t> NextUs() const override;
  void HappenNext(EngineCore& core, int64_t now_us) override;

  // The last output of each request, in the order of Traffic::requests; how many of them have ended.
  const std::vector<RequestOutput>& outputs() const { return outputs_; }
  size_t num_ended() const { return num_ended_; }

 private:
  Request MakeRequest(size_t idx) const;

  const Traffic traffic_;
  const int64_t start_us_;
  const int32_t block_size_;
  const TokenId first_own_id_;
  size_t next_ = 0;
  std::deque<int64_t> free_us_;  // closed loop: since when clients are free, in this order
  std::vector<RequestOutput> outputs_;
  size_t num_ended_ = 0;
};

}  // namespace penstock
