// Sampler: logits to a token: penalties, temperature, top-k, top-p, min-p, a seeded draw, log-probabilities.
//
// Semantics are vLLM's (vllm/v1/sample): log-probabilities are those of the model's own distribution (softmax
// of the logits as they came, over the whole vocabulary); penalties, bias and bans come next, in this order:
//   bans (min_tokens) → logit_bias → repetition, frequency, presence penalties → greedy if temperature is 0
//   → temperature → min_p → top_k → top_p → draw.
// A draw depends only on (seed, draw_idx) and the logits, so that it can be repeated after a preemption.
//
// Not thread-safe: owns scratch memory for one vocabulary.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/step.h"

namespace penstock {

class Sampler {
 public:
  explicit Sampler(int32_t vocab_size);

  // Draws one token. `logits` [vocab_size] are overwritten. Token ids in `spec` are inside the vocabulary.
  SampledToken Sample(SeqId seq, const SampleSpec& spec, std::span<float> logits);

  // The log-probability and rank of `target`, and the `num_top` best tokens in falling order (ties: lower id
  // first).
  PositionLogprobs Logprobs(std::span<const float> logits, TokenId target, int32_t num_top);

 private:
  TokenId Draw(const SampleSpec& spec, std::span<const float> logits);
  // Cuts candidates_ (sorted by falling probability, normalised over all) to those that min_p, top_k, top_p
  // keep.
  void KeepLikely(const SamplingParams& params);

  struct Candidate {
    float weight;  // unnormalised probability
    TokenId id;
  };
  std::vector<Candidate> candidates_;
  std::vector<TokenId> order_;          // scratch of Logprobs
  std::vector<int32_t> output_counts_;  // [vocab_size], zero between calls
  std::vector<uint8_t> seen_;           // [vocab_size], zero between calls
};

// A uniform number in (0, 1) from a counter-based generator: the same for the same (seed, counter).
double UniformDraw(uint64_t seed, uint64_t counter);

}  // namespace penstock
