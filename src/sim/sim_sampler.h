// SimSampler: a model that is a hash function. The token it draws depends on the tokens before it, in their
// order, and on what SampleSpec says that a draw depends on; on nothing else. So outputs can be predicted,
// and any mistake in what the executor is given changes them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "plan/step.h"

namespace penstock {

class SimSampler {
 public:
  // A token given by hand: of sequence `seq`, at `draw_idx`. Nothing: the hash decides.
  using Script = std::function<std::optional<TokenId>(SeqId seq, uint64_t draw_idx)>;

  explicit SimSampler(int32_t vocab_size, Script script = nullptr)
      : vocab_size_(vocab_size), script_(std::move(script)) {}

  // `history`: all tokens of the sequence so far.
  SampledToken Draw(SeqId seq, std::span<const TokenId> history, const SampleSpec& spec) const;

  // Of `target` after `history`, with the top n.
  PositionLogprobs LogprobsOf(TokenId target, std::span<const TokenId> history, int32_t num_top) const;

  // What an engine without any limits would answer.
  std::vector<TokenId> Generate(std::vector<TokenId> prompt_ids, SampleSpec spec, int32_t num_tokens) const;

 private:
  int32_t vocab_size_;
  Script script_;
};

}  // namespace penstock
