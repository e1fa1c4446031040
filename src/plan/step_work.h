// StepWork: all that the time of a step depends on, as sums over what is in it. Costs are additive in these
// sums, so one model serves a single chunk, a step packed from many requests, and decode tokens that ride
// along.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "plan/step.h"

namespace penstock {

// A chunk without its contents.
struct ChunkShape {
  int32_t pos = 0;  // tokens before it: its history
  int32_t len = 0;
  bool is_decode = false;

  bool operator==(const ChunkShape&) const = default;
};

// With H = pos and C = len of each chunk:
struct StepWork {
  double tokens = 0;          // Σ C, decode tokens included
  double pairs = 0;           // Σ (H C + C²/2) over chunks of prompts: query-key pairs of causal attention
  double history = 0;         // Σ H over chunks of prompts: what a latent cache has to expand again
  double seqs = 0;            // number of chunks, decode tokens included
  double decode_tokens = 0;   // number of decode tokens
  double decode_context = 0;  // Σ H over decode tokens: keys and values that are read

  void Add(const ChunkShape& chunk);
  void Add(const StepWork& other);
};

StepWork WorkOf(const ChunkShape& chunk);
StepWork WorkOf(std::span<const ChunkShape> chunks);
StepWork WorkOf(const Step& step);

}  // namespace penstock
