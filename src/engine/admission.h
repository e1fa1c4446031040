// Admission: which requests are live, and whether one more may come in. vLLM's --max-num-queued-reqs and
// --max-num-queued-tokens.
//
// Not thread-safe: the engine keeps it under its lock.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "base/status.h"

namespace penstock {

class Admission {
 public:
  Admission(int32_t max_reqs, int64_t max_tokens) : max_reqs_(max_reqs), max_tokens_(max_tokens) {}

  // kInvalidArgument if a live request has this id; kResourceExhausted, counted by reason, where a limit is
  // reached.
  Status Enter(const std::string& request_id, int64_t num_prompt_tokens);
  void OnFirstToken(const std::string& request_id);
  void Leave(const std::string& request_id);

  int32_t num_live() const { return static_cast<int32_t>(prefill_tokens_.size()); }
  const std::map<std::string, uint64_t>& rejections() const { return rejections_; }

 private:
  const int32_t max_reqs_;
  const int64_t max_tokens_;
  std::unordered_map<std::string, int64_t> prefill_tokens_;  // by live request; 0 after its first token
  int64_t num_prefill_tokens_ = 0;                           // their sum
  std::map<std::string, uint64_t> rejections_;
};

}  // namespace penstock
