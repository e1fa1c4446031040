// SPDX-License-Identifier: Apache-2.0
#include "sim/traffic_source.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

constexpr TokenId kSharedId = 0;

}  // namespace

TrafficSource::TrafficSource(Traffic traffic, int64_t start_us, int32_t block_size, TokenId first_own_id)
    : traffic_(std::move(traffic)),
      start_us_(start_us),
      block_size_(block_size),
      first_own_id_(first_own_id),
      outputs_(traffic_.requests.size()) {
  CHECK_GT(first_own_id, kSharedId);
  for (int32_t client = 0; client < traffic_.num_clients; ++client) BeginNext(start_us);
}

void TrafficSource::BeginNext(int64_t now_us) {
  if (next_ == traffic_.requests.size()) return;
  const double own_us = traffic_.client_us + traffic_.client_token_us * traffic_.requests[next_].prompt_len;
  due_.insert({now_us + std::llround(own_us), next_++});
}

std::optional<int64_t> TrafficSource::NextUs() const {
  if (traffic_.num_clients > 0) {
    if (due_.empty()) return std::nullopt;
    return due_.begin()->first;
  }
  if (next_ == traffic_.requests.size()) return std::nullopt;
  return start_us_ + traffic_.requests[next_].arrival_us;
}

size_t TrafficSource::Replica() {
  if (router_ == nullptr) return replica_;
  const size_t idx = traffic_.num_clients > 0 ? due_.begin()->second : next_;
  return router_->Route(idx, traffic_.requests[idx]);
}

void TrafficSource::HappenNext(EngineCore& core, int64_t now_us) {
  const size_t idx = traffic_.num_clients > 0 ? due_.extract(due_.begin()).value().second : next_++;
  Request request = MakeRequest(idx);
  const Status status = core.CheckRequest(request);
  CHECK(status.ok()) << status.message();
  core.Admit(
      std::move(request),
      [this, idx](RequestOutput output) {
        if (output.finish_reason == FinishReason::kNone) return;
        outputs_[idx] = std::move(output);
        ++num_ended_;
        if (router_ != nullptr) router_->OnEnd(idx);
        if (traffic_.num_clients > 0) BeginNext(outputs_[idx].times.finish_us);
      },
      now_us);
}

Request TrafficSource::MakeRequest(size_t idx) const {
  const SimRequest& request = traffic_.requests[idx];
  const int32_t most_shared = (request.prompt_len - 1) / block_size_;
  const int32_t shared = std::min((request.cached_len + block_size_ / 2) / block_size_, most_shared);
  const TokenId own_id = first_own_id_ + static_cast<TokenId>(idx);
  Request made;
  made.request_id = std::to_string(own_id);
  made.prompt_ids.assign(request.prompt_len, own_id);
  std::fill_n(made.prompt_ids.begin(), shared * block_size_, kSharedId);
  made.sampling.temperature = 0;
  made.sampling.max_tokens = request.output_len;
  made.sampling.ignore_eos = true;
  made.detokenize = false;
  return made;
}

}  // namespace penstock
