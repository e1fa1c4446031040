// SPDX-License-Identifier: Apache-2.0
#include "engine/step_trace.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace penstock {
namespace {

// Two stages, two steps of 10 us: the second stage begins when the first has ended.
StepTrace TwoSteps() {
  StepTrace trace;
  for (uint64_t id : {1, 2}) {
    Step step;
    step.step_id = id;
    Chunk chunk;
    chunk.seq = 7;
    chunk.pos = static_cast<int32_t>(id) * 16;
    chunk.len = 16;
    step.chunks.push_back(chunk);
    trace.OnSubmit(step, 1);
  }
  StepResult first, second, unknown;
  first.step_id = 1;
  first.stamps = {{0, 1, 10, 20}, {1, 20, 20, 30}};
  second.step_id = 2;
  second.stamps = {{0, 1, 20, 30}, {1, 35, 36, 46}};
  unknown.step_id = 3;
  trace.OnResult(first, 31);
  trace.OnResult(second, 47);
  trace.OnResult(unknown, 48);
  return trace;
}

TEST(StepTrace, PipelineUse) {
  const PipelineUse use = ComputePipelineUse(TwoSteps().steps(), 2);
  EXPECT_EQ(use.span_us, 36);
  EXPECT_EQ(use.stage_busy_us, (std::vector<int64_t>{20, 20}));
  EXPECT_EQ(use.time_at_us, (std::vector<int64_t>{6, 20, 10}));
  EXPECT_DOUBLE_EQ(use.overlap_share(), 10.0 / 36);
  EXPECT_DOUBLE_EQ(use.efficiency(), 40.0 / 72);
  EXPECT_EQ(ComputePipelineUse({}, 2).overlap_share(), 0);
}

TEST(StepTrace, ChromeJsonHasTracksSlicesArrowsAndGaps) {
  const Result<Json> parsed = ParseJson(TwoSteps().ToChromeJson(), "trace");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  std::map<std::string, int> phases;
  int64_t bubble_us = 0;
  for (const Json& event : (*parsed)["traceEvents"]) {
    ++phases[event["ph"].get<std::string>()];
    if (event.value("cat", "") == "bubble") {
      bubble_us += event["dur"].get<int64_t>();
      EXPECT_EQ(event["name"], "starved");
      EXPECT_EQ(event["tid"], 1);
    }
    if (event.value("cat", "") == "step") {
      EXPECT_EQ(event["name"], "prefill 16");
    }
  }
  EXPECT_EQ(phases["M"], 3);
  EXPECT_EQ(phases["X"], 5);
  EXPECT_EQ(phases["s"], 2);
  EXPECT_EQ(phases["f"], 2);
  EXPECT_EQ(bubble_us, 6);
}

TEST(StepTrace, KeepsTheLastSteps) {
  StepTrace trace(3);
  for (uint64_t id = 1; id <= 10; ++id) {
    Step step;
    step.step_id = id;
    trace.OnSubmit(step, 0);
  }
  StepResult result;
  result.step_id = 9;
  trace.OnResult(result, 5);
  EXPECT_EQ(trace.steps().size(), 3u);
  EXPECT_EQ(trace.steps()[1].result_us, 5);
}

}  // namespace
}  // namespace penstock
