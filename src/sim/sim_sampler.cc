// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_sampler.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace penstock {
namespace {

uint64_t Mix(uint64_t hash, uint64_t value) {  // the finalizer of splitmix64
  hash ^= value + 0x9e3779b97f4a7c15 + (hash << 6) + (hash >> 2);
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

uint64_t HashOf(std::span<const TokenId> ids) {
  uint64_t hash = ids.size();
  for (TokenId id : ids) hash = Mix(hash, static_cast<uint32_t>(id));
  return hash;
}

}  // namespace

SampledToken SimSampler::Draw(SeqId seq, std::span<const TokenId> history, const SampleSpec& spec) const {
  uint64_t hash = Mix(HashOf(history), spec.draw_idx);
  if (spec.params.temperature > 0) hash = Mix(hash, spec.seed);
  if (spec.params.HasPenalty()) hash = Mix(Mix(hash, HashOf(spec.prompt_ids)), HashOf(spec.output_ids));

  std::optional<TokenId> scripted = script_ ? script_(seq, spec.draw_idx) : std::nullopt;
  auto draw = [&] { return scripted.value_or(static_cast<TokenId>(hash % vocab_size_)); };
  CHECK_LT(static_cast<int32_t>(spec.banned.size()), vocab_size_);
  while (std::find(spec.banned.begin(), spec.banned.end(), draw()) != spec.banned.end()) {
    scripted.reset();
    hash = Mix(hash, 1);
  }

  SampledToken token{.seq = seq, .id = draw(), .logprobs = {}};
  if (spec.params.logprobs) token.logprobs = LogprobsOf(token.id, history, *spec.params.logprobs);
  return token;
}

PositionLogprobs SimSampler::LogprobsOf(TokenId target, std::span<const TokenId> history,
                                        int32_t num_top) const {
  const uint64_t hash = HashOf(history);
  auto logprob = [&](TokenId id) { return -1.0f - static_cast<float>(Mix(hash, id) % 10000) / 1000.0f; };
  PositionLogprobs logprobs{.chosen = {.id = target, .logprob = logprob(target), .rank = num_top + 1},
                            .top = {}};
  for (int32_t i = 0; i < num_top; ++i) {
    const auto id = static_cast<TokenId>((hash + i) % vocab_size_);
    logprobs.top.push_back({.id = id, .logprob = -0.001f * (i + 1), .rank = i + 1});
  }
  return logprobs;
}

std::vector<TokenId> SimSampler::Generate(std::vector<TokenId> prompt_ids, SampleSpec spec,
                                          int32_t num_tokens) const {
  const std::vector<TokenId> banned = spec.banned;
  const size_t prompt_len = prompt_ids.size();
  std::vector<TokenId> tokens = std::move(prompt_ids);
  for (int32_t i = 0; i < num_tokens; ++i) {
    spec.draw_idx = i;
    spec.banned = i < spec.params.min_tokens ? banned : std::vector<TokenId>();
    spec.prompt_ids.assign(tokens.begin(), tokens.begin() + prompt_len);
    spec.output_ids.assign(tokens.begin() + prompt_len, tokens.end());
    tokens.push_back(Draw(0, tokens, spec).id);
  }
  return {tokens.begin() + prompt_len, tokens.end()};
}

}  // namespace penstock
