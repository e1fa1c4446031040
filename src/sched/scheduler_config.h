// SchedulerConfig: the scheduler's budgets and limits.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "sched/sip_hash.h"

namespace penstock {

enum class SchedulingPolicy {
  kFcfs,      // first come, first served
  kPriority,  // lower Request::priority first, then first come; sequences of low priority may wait for long
  kSrpt,      // prompts with the shortest predicted remaining work first, with ageing (service_order.h)
};

std::string_view SchedulingPolicyName(SchedulingPolicy policy);  // "fcfs", "priority", "srpt"
// kInvalidArgument, with the names that there are.
Result<SchedulingPolicy> ParseSchedulingPolicy(std::string_view name);

struct SchedulerConfig {
  int32_t max_num_batched_tokens = 2048;  // in one step
  int32_t max_num_seqs = 128;             // running at once
  int32_t block_size = 16;                // tokens
  int32_t num_blocks = 0;
  int32_t max_model_len = 0;  // tokens of one sequence, prompt and generated
  int32_t num_stages = 1;
  int32_t max_steps_in_flight = 0;           // 0: num_stages + 1
  int32_t long_prefill_token_threshold = 0;  // most tokens of one prompt in a step; 0: no limit
  bool enable_prefix_caching = true;
  SchedulingPolicy policy = SchedulingPolicy::kSrpt;
  double srpt_ageing = 0.1;     // kSrpt: seconds of work that a second of waiting makes up for, > 0
  SipKey prefix_hash_key = {};  // secret: RandomSipKey()

  // Tokens of the longest sequence that can run: max_model_len, or what all blocks hold if that is less.
  int32_t max_seq_len() const;
  // kInvalidArgument with names and numbers.
  Status Validate() const;
};

}  // namespace penstock
