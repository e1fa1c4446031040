// SPDX-License-Identifier: Apache-2.0
#include "plan/optimal_planner.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "plan/slowest_stage.h"

namespace penstock {
namespace {

constexpr double kSmallOverhead = 0.02;  // of a chunk: no target is worth more latency than this buys
constexpr double kHysteresis = 0.2;      // relative change of the queue's target that counts
constexpr double kQueueShare = 0.36;     // of the work in the system, spread over the stages, in one chunk
constexpr double kWholePrompt = 0.7;     // of a prompt: no more of the mean one in a chunk
constexpr double kSameStage = 1.03;      // ratio of stages' times that counts as none
constexpr double kFullPipeline = 1.25;   // prompts for each stage
constexpr double kOverrun = 1.12;        // of the target, rather than to leave a tail
constexpr double kSmallPrompt = 0.125;   // of the target: a prompt that gets a step of its own
constexpr double kLeastRest = 0.125;     // of the target: less room in a step is left empty

}  // namespace

OptimalPlanner::OptimalPlanner(const PlannerOptions& options) : options_(options) {
  CHECK_GT(options.max_tokens, 0);
  CHECK_GT(options.block_size, 0);
}

PlanLimits OptimalPlanner::LimitsFor(double max_step_us) const {
  // Chunks end where blocks and tiles do.
  int32_t align = std::max(options_.block_size, options_.tile);
  if (align > options_.max_tokens) align = 1;
  return {.align = align,
          .min_chunk = options_.min_chunk.value_or(1),
          .max_chunk = options_.max_tokens,
          .max_step_us = max_step_us};
}

double OptimalPlanner::TargetAlone(const PrefillDemand& prefill) {
  const auto found = prompts_.find(prefill.seq);
  if (found != prompts_.end()) return found->second.target_us;
  const PromptPlan plan = PlanPrompt(cost_, prefill.pos, prefill.remaining, LimitsFor(options_.max_step_us));
  BegunPrompt& prompt = prompts_[prefill.seq];
  prompt.target_us = prompt.alone_us = plan.target_us;
  int32_t end = prefill.pos;
  for (int32_t chunk : plan.chunks) prompt.planned_ends.push_back(end += chunk);
  return plan.target_us;
}

double OptimalPlanner::OverheadTarget() const {
  // The overhead of a chunk depends on its length (the floor) and on what precedes it (a latent cache's
  // expansion), and its share falls with the length: the least length where it is small.
  const double pos = mean_len_ / 2;
  double low = 1, high = options_.max_tokens;
  const auto share = [&](double len) {
    double worst = 0;
    for (const StageCost& stage : cost_.stages) {
      const double time_us = stage.PredictChunk(pos, len);
      worst = std::max(worst, 1 - stage.PureWork(pos, len) / time_us);
    }
    return worst;
  };
  if (share(high) < kSmallOverhead) {
    for (int i = 0; i < 20; ++i) {
      const double middle = (low + high) / 2;
      (share(middle) < kSmallOverhead ? high : low) = middle;
    }
  }
  return cost_.BottleneckChunkUs(pos, high);
}

double OptimalPlanner::TargetForQueue(const std::vector<PromptDemand>& demands) const {
  double work_us = in_flight_work_us();
  for (const PromptDemand& demand : demands) work_us += demand.work_us;
  const double num_prompts = static_cast<double>(demands.size()) + in_flight_prompts();
  if (num_prompts < 2) return 0;
  // N prompts of n chunks each keep P stages busy where n (N - 1) >= P - 1: longer chunks would leave them
  // idle.
  const double spread = work_us * (num_prompts - 1) / num_prompts / std::max(1, cost_.num_stages() - 1);
  const double overhead_us = cost_.BottleneckChunkUs(mean_len_ / 2, 1);
  return overhead_us +
         std::min({kQueueShare * spread, kWholePrompt * work_us / num_prompts, OverheadTarget()});
}

double OptimalPlanner::in_flight_work_us() const {
  double work_us = 0;
  for (const StepInFlight& step : in_flight_) work_us += step.work_us;
  return work_us;
}

int32_t OptimalPlanner::in_flight_prompts() const {
  int32_t prompts = 0;
  for (const StepInFlight& step : in_flight_) prompts += step.prompts;
  return prompts;
}

void OptimalPlanner::ForgetTheGone(const StepQuery& query) {
  // Steps that failed are not reported.
  while (static_cast<int32_t>(in_flight_.size()) > query.steps_in_flight) in_flight_.pop_front();
  if (prompts_.size() <= 2 * query.prefills.size() + 16) return;
  std::unordered_map<SeqId, BegunPrompt> kept;
  for (const PrefillDemand& prefill : query.prefills) {
    const auto found = prompts_.find(prefill.seq);
    if (found != prompts_.end()) kept.insert(std::move(*found));
  }
  prompts_ = std::move(kept);
}

void OptimalPlanner::BeginStep(const StepQuery& query) {
  step_has_prompts_ = false;
  planning_ = cost_.known() && !query.prefills.empty();
  if (!planning_) return;
  ForgetTheGone(query);

  std::vector<PromptDemand> demands;
  for (const PrefillDemand& prefill : query.prefills) {
    demands.push_back(MeasureDemand(cost_, prefill, options_.max_tokens));
    const double len = static_cast<double>(prefill.pos) + prefill.remaining;
    mean_len_ = mean_len_ == 0 ? len : 0.9 * mean_len_ + 0.1 * len;
  }
  ChooseTarget(query, demands);
  mode_ = Mode::kChunks;
  if (options_.fixed_target_us > 0 || PackWholePrompts(query, demands)) return;
  // Newcomers that are small against what else there is.
  small_us_ = kSmallPrompt * target_us_;
  if (demands.size() > 1 && demands.front().fits && demands.front().alone_us <= small_us_)
    mode_ = Mode::kSmall;
}

void OptimalPlanner::ChooseTarget(const StepQuery& query, const std::vector<PromptDemand>& demands) {
  if (options_.fixed_target_us > 0) {
    target_us_ = options_.fixed_target_us;
  } else {
    const double wanted_us = TargetForQueue(demands);
    if (std::abs(wanted_us - queue_target_us_) > kHysteresis * queue_target_us_) queue_target_us_ = wanted_us;
    target_us_ = std::max(TargetAlone(query.prefills.front()), queue_target_us_);
  }
  if (options_.max_step_us > 0) target_us_ = std::min(target_us_, options_.max_step_us);
}

bool OptimalPlanner::PackWholePrompts(const StepQuery& query, const std::vector<PromptDemand>& demands) {
  const bool all_fit =
      std::all_of(demands.begin(), demands.end(), [](const PromptDemand& demand) { return demand.fits; });
  StepWork coming_back;
  for (const StepInFlight& step : in_flight_) coming_back.Add(step.completed);
  const int32_t num_coming_back = in_flight_prompts();
  if (!all_fit || demands.size() + num_coming_back < 2) return false;
  const auto longest =
      std::max_element(demands.begin(), demands.end(),
                       [](const PromptDemand& a, const PromptDemand& b) { return a.alone_us < b.alone_us; });
  const double num_prompts = static_cast<double>(demands.size()) + num_coming_back;
  const PromptSpread spread = SpreadPrompts(cost_, demands, coming_back, num_coming_back);
  // Would the longest be cut, were it alone? Or, where several share a step, would it stretch that step? (One
  // that has begun goes on as it has begun.)
  const PrefillDemand& prefill = query.prefills[longest - demands.begin()];
  const bool uncut = longest->alone_us <= kOverrun * TargetAlone(prefill);
  const bool shares = !prefill.is_running && num_prompts >= kFullPipeline * cost_.num_stages() &&
                      2 * spread.num_steps <= num_prompts && longest->alone_us <= spread.step_us;
  if (!uncut && !shares) return false;

  // Not more steps at once than it takes to serve all: what comes now joins those that come back next.
  if (query.steps_in_flight >= std::max<double>(cost_.num_stages(), spread.num_steps)) {
    mode_ = Mode::kNothing;
    return true;
  }
  mode_ = Mode::kWhole;
  const double share_waiting = static_cast<double>(demands.size()) / num_prompts;
  const auto num_steps = static_cast<size_t>(std::max(1.0, std::round(spread.num_steps * share_waiting)));
  chosen_.clear();
  for (size_t i : PromptsOfFirstStep(cost_, demands, num_steps)) chosen_.insert(query.prefills[i].seq);
  return true;
}

bool OptimalPlanner::MayServe(SeqId seq) const {
  if (!planning_ || mode_ == Mode::kChunks || mode_ == Mode::kSmall) return true;
  return mode_ == Mode::kWhole && (!step_has_prompts_ || chosen_.contains(seq));
}

int32_t OptimalPlanner::NextChunk(const ChunkQuery& query) {
  if (!planning_) return query.max_len;
  int32_t len = 0;
  if (mode_ == Mode::kWhole || mode_ == Mode::kNothing) {
    len = MayServe(query.seq) ? query.max_len : 0;  // one that the budget cuts short goes on in the next step
  } else if (mode_ == Mode::kSmall) {
    const bool small =
        query.remaining <= query.max_len && cost_.BottleneckChunkUs(query.pos, query.remaining) <= small_us_;
    len = small ? query.remaining : 0;
  } else {
    len = EqualChunk(query);
  }
  if (len == 0) return 0;
  if (!step_has_prompts_) in_flight_.push_back({});
  step_has_prompts_ = true;
  double work_us = 0;
  for (const StageCost& stage : cost_.stages) work_us = std::max(work_us, stage.PureWork(query.pos, len));
  in_flight_.back().work_us += work_us;
  if (len == query.remaining) {
    ++in_flight_.back().prompts;
    in_flight_.back().completed.Add(WorkOf({.pos = query.pos, .len = len}));
  }
  BegunPrompt& prompt = prompts_[query.seq];
  prompt.target_us = std::max(prompt.target_us, target_us_);
  if (len == query.remaining) prompts_.erase(query.seq);
  return len;
}

int32_t OptimalPlanner::EqualChunk(const ChunkQuery& query) const {
  const auto found = prompts_.find(query.seq);
  double target_us = found == prompts_.end() ? target_us_ : std::max(target_us_, found->second.target_us);
  if (options_.max_step_us > 0) target_us = std::min(target_us, options_.max_step_us);

  // What is in the step already has taken its time; but the constant is paid once.
  const StepWork before = WorkOf(query.step_chunks);
  double used_us = 0;
  for (const StageCost& stage : cost_.stages) {
    used_us = std::max(used_us, stage.Predict(before) - stage.Predict({}));
  }
  if (step_has_prompts_) return FurtherChunk(query, target_us, target_us - used_us);

  // As planned, where nothing has come between. Of equal stages, the same comes out below, and better
  // balanced.
  if (found != prompts_.end() && target_us <= found->second.alone_us && used_us == 0 && !stages_equal_) {
    const std::vector<int32_t>& ends = found->second.planned_ends;
    const auto next = std::upper_bound(ends.begin(), ends.end(), query.pos);
    const bool on_plan = next == ends.begin() || (next != ends.end() && next[-1] == query.pos);
    if (on_plan && next != ends.end()) return Smoothed(std::min(*next - query.pos, query.max_len), query);
  }
  PlanLimits limits = LimitsFor(0);
  if (options_.max_step_us > 0) {
    limits.max_step_us = std::max(1.0, options_.max_step_us - used_us);
    target_us = std::max(1.0, target_us - used_us);
  }
  const int32_t len = NextEqualChunk(cost_, query.pos, query.remaining, target_us, limits);
  return Smoothed(std::min(len, query.max_len), query);
}

int32_t OptimalPlanner::FurtherChunk(const ChunkQuery& query, double target_us, double room_us) const {
  if (room_us < kLeastRest * target_us) return 0;
  if (query.remaining <= query.max_len &&
      LongestChunk(cost_, query.pos, room_us * kOverrun, query.max_len) >= query.remaining) {
    return query.remaining;
  }
  const double longest = LongestChunk(cost_, query.pos, room_us, query.max_len);
  const int32_t align = LimitsFor(0).align;
  const auto end = static_cast<int32_t>(query.pos + longest);
  const int32_t len = end - end % align - query.pos;
  return len < std::max(options_.min_chunk.value_or(1), align) ? 0 : std::min(len, query.max_len);
}

// The seed's smoothing: from the cap of a step towards what was computed.
int32_t OptimalPlanner::Smoothed(int32_t len, const ChunkQuery& query) const {
  if (!options_.smooth_factor || *options_.smooth_factor >= 1 || len == query.remaining) return len;
  const double base = options_.max_tokens;
  const auto smoothed = static_cast<int32_t>(base + *options_.smooth_factor * (len - base));
  const int32_t align = LimitsFor(0).align;
  const int32_t end = (query.pos + smoothed + align - 1) / align * align;
  return std::clamp(end - query.pos, 1, query.max_len);
}

void OptimalPlanner::SetCost(const CostModel& cost) {
  cost_ = cost;
  // Stages that differ by no more than what a measurement may be off are taken to be equal.
  const double len = options_.max_tokens, pos = std::max(0.0, mean_len_ / 2);
  const auto [least, most] = std::minmax_element(cost_.stages.begin(), cost_.stages.end(),
                                                 [&](const StageCost& a, const StageCost& b) {
                                                   return a.PredictChunk(pos, len) < b.PredictChunk(pos, len);
                                                 });
  if (most->PredictChunk(pos, len) <= kSameStage * least->PredictChunk(pos, len)) {
    cost_.stages.assign(cost_.stages.size(), cost.MeanStage());
  }
  stages_equal_ = SlowestStage(cost_).all_equal();
}

void OptimalPlanner::OnStep(const StepTiming& timing) {
  const bool has_prompts = std::any_of(timing.chunks.begin(), timing.chunks.end(),
                                       [](const ChunkShape& chunk) { return !chunk.is_decode; });
  if (has_prompts && !in_flight_.empty()) in_flight_.pop_front();
}

}  // namespace penstock
