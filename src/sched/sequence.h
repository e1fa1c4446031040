// Sequence: one stream of tokens with its blocks, as the scheduler sees it.
//
//   tokens          prompt, then what has been generated
//   num_computed    tokens whose steps have come back: their keys and values are in `blocks`
//   num_scheduled   the same, or in a step in flight
//
//   0 <= num_computed <= num_scheduled <= tokens.size(), and blocks.size() * block_size >= num_scheduled
//
// While num_scheduled < prefill_len the sequence is in prefill: its next chunk may be scheduled while earlier
// ones are in flight. After that it is in decode: there is one token to schedule (`tokens.size() -
// num_scheduled == 1`), or it waits for the token that a step in flight will draw.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/step.h"
#include "sched/prefix_hash.h"

namespace penstock {

// What the scheduler is given for a new sequence.
struct SequenceSpec {
  SeqId id = 0;                     // never used before
  std::vector<TokenId> prompt_ids;  // not empty
  SamplingParams params;
  uint64_t seed = 0;
  int32_t priority = 0;
  int64_t arrival_us = 0;  // when its request came; not earlier than that of any added before, about
  std::string cache_salt;
  std::vector<TokenId> min_tokens_bans;  // not drawn while fewer than params.min_tokens have been
};

enum class SequenceState {
  kWaiting,    // in the waiting queue; has no blocks
  kRunning,    // has blocks for all its tokens
  kPreempted,  // will wait again, once the steps in flight that use its blocks have come back
  kEnded,      // will be forgotten, likewise
};

struct Sequence {
  Sequence(SequenceSpec spec, uint64_t arrival, int32_t max_len);

  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_output_tokens() const { return num_tokens() - prompt_len; }
  int32_t num_unscheduled() const { return num_tokens() - num_scheduled; }
  bool in_prefill() const { return num_scheduled < prefill_len; }
  bool ready_to_decode() const { return !in_prefill() && num_unscheduled() == 1; }
  // Every token of the prompt must then go through the model, cached or not.
  bool wants_prompt_logprobs() const {
    return params.prompt_logprobs.has_value() && num_output_tokens() == 0;
  }

  // Tokens [num_scheduled, num_scheduled + len) for the executor.
  Chunk MakeChunk(int32_t len, int32_t block_size) const;

  const SeqId id;
  const SamplingParams params;  // without stop strings, of which the executor knows nothing
  const uint64_t seed;
  const int32_t priority;
  const uint64_t arrival;  // 1, 2, 3, … in the order of arrival
  const int64_t arrival_us;
  const std::string cache_salt;
  const std::vector<TokenId> min_tokens_bans;
  const int32_t prompt_len;
  const int32_t max_len;  // most tokens it can ever have

  SequenceState state = SequenceState::kWaiting;
  std::vector<TokenId> tokens;
  int32_t prefill_len = 0;    // tokens known when it last began to run
  int32_t prefill_begin = 0;  // tokens that were cached then; of a waiting one: that would be, as last seen
  double service_key = 0;     // ServiceOrder's; of a waiting sequence it changes only outside of the queue
  int32_t num_scheduled = 0;
  int32_t num_computed = 0;
  int32_t num_steps_in_flight = 0;
  std::vector<BlockId> blocks;
  int32_t num_preemptions = 0;
  int32_t num_cached_tokens = 0;  // found in the prefix cache when it first began to run

  // The prefix cache's own (prefix_cache.h).
  std::vector<BlockHash> block_hashes;  // of the leading whole blocks, as far as they have been needed
  int32_t num_offered_blocks = 0;       // leading blocks that are findable
  int32_t num_announced_blocks = 0;     // leading blocks that are findable or announced as being computed
  std::optional<BlockHash> deferred_on;

 private:
  SampleSpec MakeSampleSpec() const;
};

}  // namespace penstock
