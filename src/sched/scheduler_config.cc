// SPDX-License-Identifier: Apache-2.0
#include "sched/scheduler_config.h"

#include <algorithm>
#include <utility>

namespace penstock {

std::string_view SchedulingPolicyName(SchedulingPolicy policy) {
  switch (policy) {
    case SchedulingPolicy::kFcfs:
      return "fcfs";
    case SchedulingPolicy::kPriority:
      return "priority";
    case SchedulingPolicy::kSrpt:
      break;
  }
  return "srpt";
}

Result<SchedulingPolicy> ParseSchedulingPolicy(std::string_view name) {
  for (const SchedulingPolicy policy :
       {SchedulingPolicy::kFcfs, SchedulingPolicy::kPriority, SchedulingPolicy::kSrpt}) {
    if (SchedulingPolicyName(policy) == name) return policy;
  }
  return InvalidArgument("scheduling policy \"{}\", expected fcfs, priority or srpt", name);
}

int32_t SchedulerConfig::max_seq_len() const {
  return static_cast<int32_t>(
      std::min<int64_t>(max_model_len, static_cast<int64_t>(num_blocks) * static_cast<int64_t>(block_size)));
}

Status SchedulerConfig::Validate() const {
  const std::pair<const char*, int32_t> positive[] = {{"max_num_batched_tokens", max_num_batched_tokens},
                                                      {"max_num_seqs", max_num_seqs},
                                                      {"block_size", block_size},
                                                      {"num_blocks", num_blocks},
                                                      {"max_model_len", max_model_len},
                                                      {"num_stages", num_stages}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return InvalidArgument("{} is {}, expected at least 1", name, value);
  }
  if (max_steps_in_flight < 0) return InvalidArgument("max_steps_in_flight is {}", max_steps_in_flight);
  if (long_prefill_token_threshold < 0) {
    return InvalidArgument("long_prefill_token_threshold is {}", long_prefill_token_threshold);
  }
  if (!(srpt_ageing > 0)) return InvalidArgument("srpt_ageing is {}, expected more than 0", srpt_ageing);
  if (max_num_batched_tokens < max_num_seqs) {
    return InvalidArgument("max_num_batched_tokens ({}) must be at least max_num_seqs ({})",
                           max_num_batched_tokens, max_num_seqs);
  }
  return OkStatus();
}

}  // namespace penstock
