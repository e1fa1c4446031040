// SPDX-License-Identifier: Apache-2.0
#include "engine/step_trace.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

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
  std::map<std::string, int64_t> bubble_us;  // by stage and name
  std::set<std::string> arrows;
  for (const Json& event : (*parsed)["traceEvents"]) {
    ++phases[event["ph"].get<std::string>()];
    if (event.value("cat", "") == "bubble") {
      const std::string key = event["tid"].dump() + " " + event["name"].get<std::string>();
      bubble_us[key] += event["dur"].get<int64_t>();
    }
    if (event["ph"] == "s") arrows.insert(event["name"]);
    if (event.value("cat", "") == "step") {
      EXPECT_EQ(event["name"], "prefill 16");
    }
  }
  EXPECT_EQ(phases["M"], 3);
  EXPECT_EQ(phases["X"], 4 + 4);
  EXPECT_EQ(phases["s"], 2);
  EXPECT_EQ(phases["f"], 2);
  EXPECT_EQ(arrows, (std::set<std::string>{"sequence 7 [16, 32)", "sequence 7 [32, 48)"}));
  // The first step reaches stage 0 at 10 and stage 1 at 20; the second waits for 6 before stage 1.
  EXPECT_EQ(bubble_us, (std::map<std::string, int64_t>{
                           {"0 fill", 9}, {"1 fill", 19}, {"1 host gap", 6}, {"0 drain", 16}}));
}

TEST(IdleFinder, NamesEverySliceOfABusyPeriod) {
  IdleFinder finder;
  std::vector<IdleSlice> slices;
  finder.OnStep(0, std::vector<StageStamp>{{0, 1, 2, 10}, {1, 10, 11, 20}}, &slices);
  // Submitted late, then longer on stage 0 than stage 1 has work.
  finder.OnStep(13, std::vector<StageStamp>{{0, 14, 15, 30}, {1, 31, 33, 40}}, &slices);
  finder.EndPeriod(&slices);
  // After a pause, which is nobody's fault.
  finder.OnStep(100, std::vector<StageStamp>{{0, 100, 100, 110}, {1, 110, 110, 120}}, &slices);
  finder.EndPeriod(&slices);
  finder.EndPeriod(&slices);

  std::vector<std::string> found;
  int64_t idle_us[2] = {};
  for (const IdleSlice& slice : slices) {
    found.push_back(
        fmt::format("{} {} {}-{}", slice.stage, IdleCauseName(slice.cause), slice.begin_us, slice.end_us));
    idle_us[slice.stage] += slice.end_us - slice.begin_us;
  }
  EXPECT_EQ(found,
            (std::vector<std::string>{"0 fill 0-2", "1 fill 0-11", "0 starved 10-13", "0 host gap 13-15",
                                      "1 waiting for receive 20-30", "1 host gap 30-33", "0 drain 30-40",
                                      "1 fill 100-110", "0 drain 110-120"}));
  // What a stage works and what it idles is the whole of both periods.
  EXPECT_EQ(idle_us[0] + 8 + 15 + 10, 40 + 20);
  EXPECT_EQ(idle_us[1] + 9 + 7 + 10, 40 + 20);
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
