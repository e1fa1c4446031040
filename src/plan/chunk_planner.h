// ChunkPlanner: how many tokens of a prompt go into the step that is being made. The scheduler asks once for
// each prompt and step, in the order in which it serves sequences.
//
// Pure: an answer depends on the queries so far and nothing else; no clock, no I/O. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "plan/step.h"

namespace penstock {

// A chunk without its contents: all that its cost depends on.
struct ChunkShape {
  int32_t pos = 0;
  int32_t len = 0;
};

struct ChunkQuery {
  SeqId seq = 0;
  int32_t pos = 0;        // tokens before the chunk: cached, computed, or in steps in flight
  int32_t remaining = 0;  // tokens of the prompt not yet scheduled, >= 1
  int32_t max_len = 0;    // most tokens that this chunk may have: 1 <= max_len <= remaining
  std::span<const ChunkShape> step_chunks;  // already in the step; decode tokens are chunks of one
  int32_t steps_in_flight = 0;              // without this one
  int32_t num_prefilling = 0;               // running sequences with tokens of their prompt unscheduled
  int32_t num_waiting = 0;                  // sequences that wait for their first step
  int64_t backlog_tokens = 0;               // unscheduled prompt tokens of all these, this one's included
};

class ChunkPlanner {
 public:
  virtual ~ChunkPlanner() = default;

  // 0 … max_len. 0 leaves the sequence out of this step; the scheduler takes it as 1 where nothing else is in
  // the step nor in flight, so that a planner cannot stop the engine.
  virtual int32_t NextChunk(const ChunkQuery& query) = 0;
};

// As much as the step's token budget allows: vLLM's chunked prefill.
class StaticChunkPlanner : public ChunkPlanner {
 public:
  int32_t NextChunk(const ChunkQuery& query) override { return query.max_len; }
};

}  // namespace penstock
