// BacklogRouter: to which replica a request goes: the one that would be free first, by the predicted time of
// what it has not ended yet. The product's router (engine/replica_router.h) without prefixes, of which the
// simulator's requests have only a length.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>
#include <vector>

#include "plan/cost_model.h"
#include "sim/workload.h"

namespace penstock {

class BacklogRouter {
 public:
  // cost: known, of one replica.
  BacklogRouter(CostModel cost, size_t num_replicas) : cost_(std::move(cost)), backlog_us_(num_replicas) {}

  // The replica with the least backlog, the first of several; `id` is the request's until it has ended.
  size_t Route(size_t id, const SimRequest& request);
  void OnEnd(size_t id);

  const std::vector<double>& backlog_us() const { return backlog_us_; }

 private:
  struct Routed {
    size_t replica = 0;
    double work_us = 0;
  };
  const CostModel cost_;
  std::vector<double> backlog_us_;
  std::unordered_map<size_t, Routed> routed_;
};

}  // namespace penstock
