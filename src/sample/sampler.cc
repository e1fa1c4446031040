// The sampler. The order of the passes is in the header; each pass is one function over the logits.
//
// SPDX-License-Identifier: Apache-2.0
#include "sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace penstock {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

TokenId ArgMax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Mixes 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

double UniformDraw(uint64_t seed, uint64_t counter) {
  const uint64_t bits = Mix(Mix(seed) ^ Mix(counter + 0x632be59bd9b4e019ull));
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1.0p-53;
}

Sampler::Sampler(int32_t vocab_size) : output_counts_(vocab_size), seen_(vocab_size) {
  CHECK_GT(vocab_size, 0);
}

PositionLogprobs Sampler::Logprobs(std::span<const float> logits, TokenId target, int32_t num_top) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  const float log_sum = max + static_cast<float>(std::log(sum));
  const auto rank_of = [&](TokenId id) {
    int32_t above = 0;
    for (float logit : logits) above += logit > logits[id];
    return above + 1;
  };

  PositionLogprobs result;
  result.chosen = {target, logits[target] - log_sum, rank_of(target)};
  num_top = std::min<int32_t>(num_top, static_cast<int32_t>(logits.size()));
  if (num_top <= 0) return result;
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::partial_sort(order_.begin(), order_.begin() + num_top, order_.end(), [&](TokenId a, TokenId b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (int32_t i = 0; i < num_top; ++i) {
    result.top.push_back({order_[i], logits[order_[i]] - log_sum, i + 1});
  }
  return result;
}

SampledToken Sampler::Sample(SeqId seq, const SampleSpec& spec, std::span<float> logits) {
  CHECK_EQ(logits.size(), seen_.size());
  const SamplingParams& params = spec.params;
  // A model that computed NaN or infinity must not take the sampler with it: NaN is never drawn.
  for (float& logit : logits) {
    if (!(logit > kMinusInfinity)) logit = std::numeric_limits<float>::lowest();
    logit = std::min(logit, std::numeric_limits<float>::max());
  }
  std::vector<float> raw;
  if (params.logprobs) raw.assign(logits.begin(), logits.end());

  for (TokenId id : spec.banned) logits[id] = kMinusInfinity;
  for (const auto& [id, bias] : params.logit_bias) logits[id] += bias;
  if (params.HasPenalty()) {
    for (TokenId id : spec.prompt_ids) seen_[id] = 1;
    for (TokenId id : spec.output_ids) seen_[id] = 1, ++output_counts_[id];
    for (size_t id = 0; id < logits.size(); ++id) {
      if (!seen_[id]) continue;
      float& logit = logits[id];
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
      logit -= params.frequency_penalty * static_cast<float>(output_counts_[id]);
      if (output_counts_[id] > 0) logit -= params.presence_penalty;
    }
    for (TokenId id : spec.prompt_ids) seen_[id] = 0;
    for (TokenId id : spec.output_ids) seen_[id] = 0, output_counts_[id] = 0;
  }

  SampledToken token;
  token.seq = seq;
  token.id = params.temperature == 0.0f ? ArgMax(logits) : Draw(spec, logits);
  if (params.logprobs) token.logprobs = Logprobs(raw, token.id, *params.logprobs);
  return token;
}

TokenId Sampler::Draw(const SampleSpec& spec, std::span<const float> logits) {
  const SamplingParams& params = spec.params;
  const float max = *std::max_element(logits.begin(), logits.end());
  if (max == kMinusInfinity) return ArgMax(logits);
  candidates_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    const float weight = std::exp((logits[id] - max) / params.temperature);
    if (weight > 0) candidates_.push_back({weight, static_cast<TokenId>(id)});
  }
  KeepLikely(params);

  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double left = UniformDraw(spec.seed, spec.draw_idx) * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.id;
  }
  return candidates_.back().id;
}

void Sampler::KeepLikely(const SamplingParams& params) {
  if (params.min_p > 0) {  // the most likely weighs 1
    std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < params.min_p; });
  }
  const bool cuts_by_order =
      (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) || params.top_p < 1.0f;
  if (!cuts_by_order) return;
  const auto more_likely = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + params.top_k, candidates_.end(), more_likely);
    candidates_.resize(params.top_k);
  }
  std::sort(candidates_.begin(), candidates_.end(), more_likely);
  if (params.top_p < 1.0f) {  // the shortest head whose probability reaches top_p
    double total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    double head = 0;
    size_t keep = 0;
    while (keep < candidates_.size() && head < params.top_p * total) head += candidates_[keep++].weight;
    candidates_.resize(std::max<size_t>(keep, 1));
  }
}

}  // namespace penstock
