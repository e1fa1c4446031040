// Step and StepResult: all that passes between the control half, which decides, and the compute half, which
// executes. Plain data: no tensor, no clock, no pointer into either half.
//
//   engine ── Step ──▶ stage 0 ─ hidden ─▶ stage 1 ─ … ─▶ last stage ── StepResult ──▶ engine
//
// A step is what enters the pipeline at once: chunks of prompts, and decode tokens, which are chunks of one
// token. Steps are executed on every stage in the order in which they were submitted.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"
#include "plan/sampling_params.h"

namespace penstock {

using SeqId = uint64_t;
using BlockId = int32_t;

// What the last stage must draw after a chunk's last token.
struct SampleSpec {
  SamplingParams params;
  uint64_t seed = 0;      // with draw_idx, the whole state of the random numbers: a draw can be repeated
  uint64_t draw_idx = 0;  // tokens generated before this one
  std::vector<TokenId> banned;      // never drawn: end-of-sequence and stop tokens while below min_tokens
  std::vector<TokenId> prompt_ids;  // both only where params.HasPenalty()
  std::vector<TokenId> output_ids;
};

// A span of one sequence: tokens [pos, pos + len). All tokens before `pos` have been in earlier steps (or in
// cached blocks), so their keys and values are in the blocks when a stage executes this step.
struct Chunk {
  SeqId seq = 0;
  int32_t pos = 0;  // absolute position of the first token
  int32_t len = 0;
  bool is_decode = false;          // a generated token, not a part of the prompt
  std::vector<TokenId> token_ids;  // [len]
  std::vector<BlockId>
      block_ids;  // [ceil((pos + len) / block_size)], block i holds positions [i * block_size, …)
  std::optional<SampleSpec> sample;  // set where the chunk ends with the last token known so far

  // Log-probabilities of the prompt: for each token of the chunk those of the token that follows it. Empty:
  // none wanted; otherwise [len], -1 where the following token is not part of the prompt.
  std::vector<TokenId> logprob_targets;
  int32_t num_prompt_logprobs = 0;  // top-n beside each target
};

struct Step {
  uint64_t step_id = 0;  // 1, 2, 3, …
  std::vector<Chunk> chunks;

  int32_t num_tokens() const {
    int32_t total = 0;
    for (const Chunk& chunk : chunks) total += chunk.len;
    return total;
  }
};

// A token with its log-probability (natural logarithm, after temperature-free softmax over the whole
// vocabulary).
struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0.0f;
  int32_t rank = 0;  // 1: the most likely
};

// `chosen`, and the top-n in falling order where asked for.
struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

struct SampledToken {
  SeqId seq = 0;
  TokenId id = 0;
  std::optional<PositionLogprobs> logprobs;  // where params.logprobs is set
};

// Log-probabilities of prompt tokens [pos, pos + positions.size()) of a sequence: pos is that of the first
// target.
struct PromptLogprobs {
  SeqId seq = 0;
  int32_t pos = 0;
  std::vector<PositionLogprobs> positions;
};

// One stage's work on one step. Clock reads of that stage; a clock is shared by the stages of one process.
struct StageStamp {
  int32_t stage = 0;
  int64_t recv_us = 0;   // the step had arrived
  int64_t begin_us = 0;  // forward began
  int64_t end_us = 0;    // forward (and sampling, on the last stage) had ended
};

struct StepResult {
  uint64_t step_id = 0;
  Status status;                     // not OK: no chunk of the step may be taken as computed
  std::vector<SampledToken> tokens;  // one for each chunk with `sample`, unless it was skipped
  std::vector<PromptLogprobs> prompt_logprobs;
  std::vector<SeqId> skipped;      // sequences cancelled before every stage had executed their chunk
  std::vector<StageStamp> stamps;  // in the order of stages
};

}  // namespace penstock
