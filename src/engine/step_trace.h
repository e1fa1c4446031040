// StepTrace: what was in each step and when each stage worked on it; how much the stages overlapped; and the
// same as a picture.
//
// Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "engine/idle_slices.h"
#include "plan/step.h"

namespace penstock {

struct ChunkRecord {
  SeqId seq = 0;
  int32_t pos = 0;
  int32_t len = 0;
  bool is_decode = false;
};

struct StepRecord {
  uint64_t step_id = 0;
  std::vector<ChunkRecord> chunks;
  int64_t submit_us = 0;
  int64_t result_us = 0;           // 0: not back yet
  bool begins_period = false;      // the first after the engine had nothing to do (engine/idle_slices.h)
  std::vector<StageStamp> stamps;  // in the order of stages
  bool ok = true;
};

class StepTrace {
 public:
  // Keeps the last `max_steps`.
  explicit StepTrace(size_t max_steps = 200'000) : max_steps_(max_steps) {}

  void OnSubmit(const Step& step, int64_t now_us, bool begins_period = false);
  // Of a step that was not recorded, or has been dropped: ignored.
  void OnResult(const StepResult& result, int64_t now_us);

  const std::deque<StepRecord>& steps() const { return steps_; }

  // In the Trace Event format of chrome://tracing and Perfetto: one track for each stage, a slice for each
  // step on it, arrows that follow each chunk of a prompt from stage to stage, and slices that say why a
  // stage did not work (engine/idle_slices.h).
  // `replica` >= 0 tells several engines' traces apart that are to be merged.
  std::string ToChromeJson(int32_t replica = -1) const;

 private:
  size_t max_steps_;
  std::deque<StepRecord> steps_;
};

// One trace of several replicas' ToChromeJson(). Empty ones are left out; empty where there is none.
std::string MergeTraces(const std::vector<std::string>& traces);

// How the stages worked between the first begin and the last end of some steps.
struct PipelineUse {
  int64_t span_us = 0;
  std::vector<int64_t> stage_busy_us;  // [num_stages]
  std::vector<int64_t> time_at_us;  // [num_stages + 1]: entry n is the time in which exactly n stages worked

  // Share of the span in which at least two stages worked at the same time.
  double overlap_share() const;
  // Work done, against all stages working all the time.
  double efficiency() const;
};

PipelineUse ComputePipelineUse(const std::deque<StepRecord>& steps, int num_stages);

}  // namespace penstock
