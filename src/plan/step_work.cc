// SPDX-License-Identifier: Apache-2.0
#include "plan/step_work.h"

namespace penstock {

void StepWork::Add(const ChunkShape& chunk) {
  const double pos = chunk.pos, len = chunk.len;
  tokens += len;
  seqs += 1;
  if (chunk.is_decode) {
    decode_tokens += len;
    decode_context += pos * len;
  } else {
    pairs += len * (pos + len / 2);
    history += pos;
  }
}

void StepWork::Add(const StepWork& other) {
  tokens += other.tokens;
  pairs += other.pairs;
  history += other.history;
  seqs += other.seqs;
  decode_tokens += other.decode_tokens;
  decode_context += other.decode_context;
}

StepWork WorkOf(const ChunkShape& chunk) {
  StepWork work;
  work.Add(chunk);
  return work;
}

StepWork WorkOf(std::span<const ChunkShape> chunks) {
  StepWork work;
  for (const ChunkShape& chunk : chunks) work.Add(chunk);
  return work;
}

StepWork WorkOf(const Step& step) {
  StepWork work;
  for (const Chunk& chunk : step.chunks) {
    work.Add({.pos = chunk.pos, .len = chunk.len, .is_decode = chunk.is_decode});
  }
  return work;
}

}  // namespace penstock
