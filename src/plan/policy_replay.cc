// SPDX-License-Identifier: Apache-2.0
#include "plan/policy_replay.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "base/check.h"

namespace penstock {
namespace {

constexpr SeqId kSeq = 1;

// Steps of one chunk in a pipeline that does nothing else.
class LonePrompt {
 public:
  LonePrompt(ChunkPlanner& planner, const CostModel& cost)
      : planner_(planner), cost_(cost), end_us_(cost.stages.size()) {}

  int32_t steps_in_flight() const { return static_cast<int32_t>(in_flight_.size()); }

  void Submit(const ChunkShape& chunk) {
    Flight& flight = in_flight_.emplace_back();
    flight.chunk = chunk;
    double before_us = 0;
    for (size_t s = 0; s < end_us_.size(); ++s) {
      const double begin_us = std::max(before_us, end_us_[s]);
      flight.stamps.push_back({.stage = static_cast<int32_t>(s), .recv_us = std::llround(before_us)});
      before_us = end_us_[s] = begin_us + cost_.stages[s].PredictChunk(chunk.pos, chunk.len);
      flight.stamps.back().begin_us = std::llround(begin_us);
      flight.stamps.back().end_us = std::llround(before_us);
    }
    longest_us_ = std::max(longest_us_, cost_.BottleneckChunkUs(chunk.pos, chunk.len));
  }

  void TakeResult() {
    const Flight& flight = in_flight_.front();
    planner_.OnStep({.chunks = {&flight.chunk, 1}, .stamps = flight.stamps});
    in_flight_.pop_front();
  }

  double longest_us() const { return longest_us_; }

 private:
  struct Flight {
    ChunkShape chunk;
    std::vector<StageStamp> stamps;
  };

  ChunkPlanner& planner_;
  const CostModel& cost_;
  std::vector<double> end_us_;  // [num_stages]: of the step before
  std::deque<Flight> in_flight_;
  double longest_us_ = 0;
};

int32_t AskForChunk(ChunkPlanner& planner, int32_t pos, int32_t remaining, bool is_running,
                    int32_t steps_in_flight, int32_t max_tokens) {
  const PrefillDemand demand{.seq = kSeq, .pos = pos, .remaining = remaining, .is_running = is_running};
  planner.BeginStep({.prefills = {&demand, 1}, .steps_in_flight = steps_in_flight, .max_tokens = max_tokens});
  const int32_t max_len = std::min(remaining, max_tokens);
  const int32_t len =
      planner.NextChunk({.seq = kSeq, .pos = pos, .remaining = remaining, .max_len = max_len});
  CHECK(len >= 0 && len <= max_len) << "chunk of " << len << ", at most " << max_len;
  return len == 0 && steps_in_flight == 0 ? max_len : len;
}

}  // namespace

PromptPlan ReplayPolicy(ChunkPlanner& planner, const CostModel& cost, int64_t pos, int64_t len,
                        int32_t max_tokens) {
  CHECK(cost.known() && len > 0 && pos >= 0 && max_tokens > 0);
  CHECK_LE(pos + len, std::numeric_limits<int32_t>::max());
  planner.SetCost(cost);
  LonePrompt prompt(planner, cost);
  PromptPlan plan;
  const int64_t end = pos + len;
  for (int64_t at = pos; at < end;) {
    if (prompt.steps_in_flight() > cost.num_stages()) prompt.TakeResult();
    const int32_t chunk = AskForChunk(planner, static_cast<int32_t>(at), static_cast<int32_t>(end - at),
                                      !plan.chunks.empty(), prompt.steps_in_flight(), max_tokens);
    if (chunk == 0) {
      prompt.TakeResult();
      continue;
    }
    prompt.Submit({.pos = static_cast<int32_t>(at), .len = chunk});
    plan.chunks.push_back(chunk);
    at += chunk;
  }
  while (prompt.steps_in_flight() > 0) prompt.TakeResult();
  plan.makespan_us = Makespan(cost, pos, plan.chunks);
  plan.target_us = prompt.longest_us();
  return plan;
}

}  // namespace penstock
