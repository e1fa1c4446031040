// SPDX-License-Identifier: Apache-2.0
#include "engine/admission.h"

namespace penstock {

Status Admission::Enter(const std::string& request_id, int64_t num_prompt_tokens) {
  if (prefill_tokens_.contains(request_id)) return InvalidArgument("request_id {} is in use", request_id);
  if (max_reqs_ > 0 && num_live() >= max_reqs_) {
    ++rejections_["max_num_queued_reqs"];
    return ResourceExhausted(
        "The engine is currently busy: {} requests are queued or running, the limit is {}.", num_live(),
        max_reqs_);
  }
  if (max_tokens_ > 0 && num_prefill_tokens_ >= max_tokens_) {
    ++rejections_["max_num_queued_tokens"];
    return ResourceExhausted(
        "The engine's prefill token backlog limit is reached: {} tokens, the limit is {}.",
        num_prefill_tokens_, max_tokens_);
  }
  prefill_tokens_.emplace(request_id, num_prompt_tokens);
  num_prefill_tokens_ += num_prompt_tokens;
  return OkStatus();
}

void Admission::OnFirstToken(const std::string& request_id) {
  const auto it = prefill_tokens_.find(request_id);
  if (it == prefill_tokens_.end()) return;
  num_prefill_tokens_ -= it->second;
  it->second = 0;
}

void Admission::Leave(const std::string& request_id) {
  OnFirstToken(request_id);
  prefill_tokens_.erase(request_id);
}

}  // namespace penstock
