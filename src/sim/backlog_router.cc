// SPDX-License-Identifier: Apache-2.0
#include "sim/backlog_router.h"

#include <algorithm>

#include "base/check.h"

namespace penstock {

size_t BacklogRouter::Route(size_t id, const SimRequest& request) {
  const auto least = std::min_element(backlog_us_.begin(), backlog_us_.end());
  const double work_us = cost_.BottleneckChunkUs(request.cached_len, request.prompt_len - request.cached_len);
  *least += work_us;
  const auto replica = static_cast<size_t>(least - backlog_us_.begin());
  CHECK(routed_.insert({id, {replica, work_us}}).second);
  return replica;
}

void BacklogRouter::OnEnd(size_t id) {
  const auto found = routed_.find(id);
  CHECK(found != routed_.end());
  double& backlog_us = backlog_us_[found->second.replica];
  backlog_us = std::max(0.0, backlog_us - found->second.work_us);
  routed_.erase(found);
}

}  // namespace penstock
