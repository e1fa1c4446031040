// SPDX-License-Identifier: Apache-2.0
#include "sched/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

SamplingParams WithoutStopStrings(SamplingParams params) {
  params.stop.clear();
  return params;
}

}  // namespace

Sequence::Sequence(SequenceSpec spec, uint64_t arrival, int32_t max_len)
    : id(spec.id),
      params(WithoutStopStrings(std::move(spec.params))),
      seed(spec.seed),
      priority(spec.priority),
      arrival(arrival),
      arrival_us(spec.arrival_us),
      cache_salt(std::move(spec.cache_salt)),
      min_tokens_bans(std::move(spec.min_tokens_bans)),
      prompt_len(static_cast<int32_t>(spec.prompt_ids.size())),
      max_len(max_len),
      tokens(std::move(spec.prompt_ids)) {}

SampleSpec Sequence::MakeSampleSpec() const {
  SampleSpec spec;
  spec.params = params;
  spec.seed = seed;
  spec.draw_idx = static_cast<uint64_t>(num_output_tokens());
  if (num_output_tokens() < params.min_tokens) spec.banned = min_tokens_bans;
  if (params.HasPenalty()) {
    spec.prompt_ids.assign(tokens.begin(), tokens.begin() + prompt_len);
    spec.output_ids.assign(tokens.begin() + prompt_len, tokens.end());
  }
  return spec;
}

Chunk Sequence::MakeChunk(int32_t len, int32_t block_size) const {
  const int32_t pos = num_scheduled;
  const int32_t end = pos + len;
  CHECK(len > 0 && end <= num_tokens())
      << "chunk [" << pos << ", " << end << ") of " << num_tokens() << " tokens";
  const int32_t num_blocks = CeilDiv(end, block_size);
  CHECK_LE(num_blocks, static_cast<int32_t>(blocks.size()));

  Chunk chunk;
  chunk.seq = id;
  chunk.pos = pos;
  chunk.len = len;
  chunk.is_decode = !in_prefill();
  chunk.token_ids.assign(tokens.begin() + pos, tokens.begin() + end);
  chunk.block_ids.assign(blocks.begin(), blocks.begin() + num_blocks);
  if (end == num_tokens()) chunk.sample = MakeSampleSpec();
  if (wants_prompt_logprobs()) {
    chunk.num_prompt_logprobs = *params.prompt_logprobs;
    chunk.logprob_targets.assign(tokens.begin() + pos + 1, tokens.begin() + std::min(end + 1, prompt_len));
    chunk.logprob_targets.resize(len, -1);
  }
  return chunk;
}

}  // namespace penstock
