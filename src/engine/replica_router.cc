// SPDX-License-Identifier: Apache-2.0
#include "engine/replica_router.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

// Replicas learn their costs apart, so equal ones differ a little. Of the request's own time: a share of the
// backlog could hide what a cached prefix saves.
constexpr double kTieShare = 0.05;

// As the scheduler adds up its backlog.
double SlowestUs(const CostModel& cost, int32_t pos, int32_t len) {
  double most_us = 0;
  for (const StageCost& stage : cost.stages) most_us = std::max(most_us, stage.PureWork(pos, len));
  return most_us;
}

}  // namespace

// One unit for all replicas, whatever is known of each.
class ReplicaRouter::Prices {
 public:
  explicit Prices(std::span<const EngineLoad> loads) {
    for (const EngineLoad& load : loads) {
      if (load.cost && shared_ == nullptr) shared_ = load.cost.get();
      us_per_token_ = std::max(us_per_token_, load.prefill_us_per_token);
    }
    if (us_per_token_ == 0) us_per_token_ = 1;
  }
  double SpanUs(const EngineLoad& load, int32_t pos, int32_t len) const {
    if (len == 0) return 0;
    const CostModel* const cost = load.cost ? load.cost.get() : shared_;
    return cost ? SlowestUs(*cost, pos, len) : us_per_token_ * len;
  }
  double BacklogUs(const EngineLoad& load) const {
    if (load.backlog_us) return *load.backlog_us;
    constexpr int32_t kProbe = 1024;
    const double us_per_token = shared_ ? SlowestUs(*shared_, 0, kProbe) / kProbe : us_per_token_;
    return us_per_token * static_cast<double>(load.waiting_prompt_tokens);
  }

 private:
  const CostModel* shared_ = nullptr;
  double us_per_token_ = 0;
};

ReplicaRouter::ReplicaRouter(const ReplicaRouterConfig& config)
    : hasher_(config.key), block_size_(config.block_size), prefix_affinity_(config.prefix_affinity) {
  CHECK(!config.num_blocks.empty());
  CHECK_GE(block_size_, 1);
  for (int32_t num_blocks : config.num_blocks) replicas_.emplace_back(num_blocks);
}

std::vector<BlockHash> ReplicaRouter::BlocksOf(const Request& request) const {
  std::vector<BlockHash> blocks;
  // Prompts whose log-probabilities are asked for are computed as a whole (sched/prefix_cache.h).
  if (!prefix_affinity_ || request.sampling.prompt_logprobs || request.prompt_ids.empty()) return blocks;
  const std::span<const TokenId> ids(request.prompt_ids);
  const size_t num_blocks = (ids.size() - 1) / block_size_;
  blocks.reserve(num_blocks);
  BlockHash parent = hasher_.Root(request.cache_salt);
  for (size_t i = 0; i < num_blocks; ++i) {
    parent = hasher_.Next(parent, ids.subspan(i * block_size_, block_size_));
    blocks.push_back(parent);
  }
  return blocks;
}

Result<Assignment> ReplicaRouter::Assign(const Request& request, const std::vector<BlockHash>& blocks,
                                         std::span<const EngineLoad> loads,
                                         const std::vector<bool>& may_take) {
  const auto num_tokens = static_cast<int32_t>(request.prompt_ids.size());
  const Prices prices(loads);
  std::lock_guard lock(mutex_);
  CHECK_EQ(loads.size(), replicas_.size());
  CHECK_EQ(may_take.size(), replicas_.size());
  if (live_.contains(request.request_id)) {
    return InvalidArgument("request_id {} is in use", request.request_id);
  }
  std::vector<Offer> offers;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    offers.push_back(MakeOffer(replicas_[i], loads[i], prices, num_tokens, blocks));
  }
  const Assignment at{.replica = Choose(offers, may_take), .ticket = next_ticket_++};
  last_replica_ = at.replica;
  Replica& replica = replicas_[at.replica];
  const int32_t pos = offers[at.replica].pos;
  replica.sent.push_back({.ticket = at.ticket, .pos = pos, .len = num_tokens - pos});
  replica.shadow.Touch(blocks);
  ++replica.num_live;
  live_[request.request_id] = {.at = at, .new_blocks = {blocks.begin() + pos / block_size_, blocks.end()}};
  return at;
}

ReplicaRouter::Offer ReplicaRouter::MakeOffer(Replica& replica, const EngineLoad& load, const Prices& prices,
                                              int32_t num_tokens,
                                              const std::vector<BlockHash>& blocks) const {
  std::erase_if(replica.sent,
                [&](const Sent& sent) { return sent.ordinal != 0 && sent.ordinal <= load.num_admitted; });
  Offer offer;
  offer.pos = static_cast<int32_t>(replica.shadow.NumKnown(blocks)) * block_size_;
  offer.own_us = prices.SpanUs(load, offer.pos, num_tokens - offer.pos);
  offer.done_us = prices.BacklogUs(load) + offer.own_us;
  for (const Sent& sent : replica.sent) offer.done_us += prices.SpanUs(load, sent.pos, sent.len);
  return offer;
}

int32_t ReplicaRouter::Choose(std::span<const Offer> offers, const std::vector<bool>& may_take) const {
  const auto num_replicas = static_cast<int32_t>(offers.size());
  const Offer* best = nullptr;
  for (int32_t i = 0; i < num_replicas; ++i) {
    if (may_take[i] && (best == nullptr || offers[i].done_us < best->done_us)) best = &offers[i];
  }
  CHECK(best != nullptr);
  const double tie_us = best->done_us + kTieShare * best->own_us;
  int32_t chosen = -1;
  for (int32_t turn = 1; turn <= num_replicas; ++turn) {
    const int32_t i = (last_replica_ + turn) % num_replicas;
    if (!may_take[i] || offers[i].done_us > tie_us) continue;
    if (chosen < 0 || replicas_[i].num_live < replicas_[chosen].num_live) chosen = i;
  }
  return chosen;
}

void ReplicaRouter::OnTaken(const Assignment& assignment) {
  std::lock_guard lock(mutex_);
  Replica& replica = replicas_[assignment.replica];
  ++replica.num_taken;
  for (Sent& sent : replica.sent) {
    if (sent.ticket == assignment.ticket) sent.ordinal = replica.num_taken;
  }
}

void ReplicaRouter::OnEnd(const std::string& request_id, bool computed) {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(request_id);
  if (it == live_.end()) return;
  Replica& replica = replicas_[it->second.at.replica];
  --replica.num_live;
  if (!computed) {
    Strike(replica, it->second.at.ticket);
    replica.shadow.Forget(it->second.new_blocks);
  }
  live_.erase(it);
}

void ReplicaRouter::Strike(Replica& replica, uint64_t ticket) {
  std::erase_if(replica.sent, [&](const Sent& sent) { return sent.ticket == ticket; });
}

int32_t ReplicaRouter::Find(const std::string& request_id) const {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(request_id);
  return it == live_.end() ? -1 : it->second.at.replica;
}

void ReplicaRouter::ResetPrefixes() {
  std::lock_guard lock(mutex_);
  for (Replica& replica : replicas_) replica.shadow.Clear();
}

}  // namespace penstock
