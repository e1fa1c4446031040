// ChunkPlanner: how many tokens of which prompts go into the step that is being made.
//
// For each step, the scheduler calls BeginStep() with everything that waits, then NextChunk() once for each
// prompt, in the order in which it serves them; steps that have come back are reported by OnStep(), and
// SetCost() publishes what is known of the pipeline's speed. The policies (make_chunk_planner.h) are objects
// behind this interface.
//
// Pure: an answer depends on the calls so far and nothing else; no clock, no I/O. Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "plan/cost_model.h"
#include "plan/step.h"
#include "plan/step_work.h"

namespace penstock {

// A prompt, or what is left of one, that has not been scheduled yet.
struct PrefillDemand {
  SeqId seq = 0;
  int32_t pos = 0;  // tokens before: computed, in steps in flight, or (of one that waits) probably cached
  int32_t remaining = 0;  // >= 1
  bool is_running = false;
};

struct StepQuery {
  std::span<const PrefillDemand>
      prefills;  // in the order of service, running and waiting; the first 256 at most
  std::span<const ChunkShape> step_chunks = {};  // decode tokens that are in the step already
  int32_t steps_in_flight = 0;                   // without this one
  int32_t max_tokens = 0;                        // what the step may still take
};

struct ChunkQuery {
  SeqId seq = 0;
  int32_t pos = 0;        // tokens before the chunk: cached, computed, or in steps in flight
  int32_t remaining = 0;  // tokens of the prompt not yet scheduled, >= 1
  int32_t max_len = 0;    // most tokens that this chunk may have: 1 <= max_len <= remaining
  std::span<const ChunkShape> step_chunks = {};  // already in the step
};

// A step that has come back whole.
struct StepTiming {
  std::span<const ChunkShape> chunks;
  std::span<const StageStamp> stamps;  // in the order of stages
};

class ChunkPlanner {
 public:
  virtual ~ChunkPlanner() = default;

  virtual std::string_view name() const = 0;

  virtual void BeginStep(const StepQuery& /*query*/) {}

  // Whether a prompt may have a chunk in this step, as far as that is known already: asked before anything is
  // looked up or reserved for it.
  // As with NextChunk(), a no is not heard where the engine would stand still.
  virtual bool MayServe(SeqId /*seq*/) const { return true; }

  // 0 … max_len. 0 leaves the sequence out of this step; the scheduler takes it as max_len where nothing else
  // is in the step nor in flight, so that a planner cannot stop the engine.
  virtual int32_t NextChunk(const ChunkQuery& query) = 0;

  virtual void OnStep(const StepTiming& /*timing*/) {}

  // The model from now on: known, sound, one stage's cost for each stage.
  virtual void SetCost(const CostModel& /*cost*/) {}
};

// As much as the step's token budget allows: vLLM's chunked prefill.
class StaticChunkPlanner : public ChunkPlanner {
 public:
  std::string_view name() const override { return "static"; }
  int32_t NextChunk(const ChunkQuery& query) override { return query.max_len; }
};

}  // namespace penstock
