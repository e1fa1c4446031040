// SPDX-License-Identifier: Apache-2.0
#include "plan/optimal_planner.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kSmallOverhead = 0.02;  // of a chunk: no target is worth more latency than this buys
constexpr double kHysteresis = 0.2;      // relative change of the queue's target that counts
constexpr double kQueueShare = 0.36;     // of the work in the system, spread over the stages, in one chunk
constexpr double kSpareSlots = 1.25;     // steps in flight for each stage: what is on its way counts too
constexpr double kOverrun = 1.12;        // of the target, rather than to leave a tail
constexpr double kNearlyBest =
    1.03;  // of the time that whole prompts take: more, and shorter, steps are worth that
constexpr double kSmallPrompt = 0.125;  // of the target: a prompt that gets a step of its own
constexpr double kLeastRest = 0.125;    // of the target: less room in a step is left empty

StepWork Scaled(const StepWork& work, double factor) {
  StepWork scaled;
  scaled.tokens = factor * work.tokens;
  scaled.pairs = factor * work.pairs;
  scaled.history = factor * work.history;
  scaled.seqs = factor * work.seqs;
  return scaled;
}

}  // namespace

OptimalPlanner::OptimalPlanner(const PlannerOptions& options) : options_(options) {
  CHECK_GT(options.max_tokens, 0);
  CHECK_GT(options.block_size, 0);
}

PlanLimits OptimalPlanner::LimitsFor(double max_step_us) const {
  // Chunks end where blocks and tiles do; of steps that are small already, where blocks do.
  int32_t align = std::max(options_.block_size, options_.tile);
  if (align > options_.max_tokens) align = 1;
  return {.align = align,
          .min_chunk = options_.min_chunk.value_or(1),
          .max_chunk = options_.max_tokens,
          .max_step_us = max_step_us};
}

OptimalPlanner::Demand OptimalPlanner::Measure(const PrefillDemand& prefill) const {
  Demand demand{.pos = prefill.pos, .len = prefill.remaining};
  for (const StageCost& stage : cost_.stages) {
    demand.work_us = std::max(demand.work_us, stage.PureWork(prefill.pos, prefill.remaining));
  }
  demand.whole = prefill.remaining <= options_.max_tokens;
  if (demand.whole) demand.alone_us = cost_.BottleneckChunkUs(prefill.pos, prefill.remaining);
  return demand;
}

double OptimalPlanner::TargetAlone(const PrefillDemand& prefill) {
  const auto found = targets_us_.find(prefill.seq);
  if (found != targets_us_.end()) return found->second;
  const double target_us =
      PlanPrompt(cost_, prefill.pos, prefill.remaining, LimitsFor(options_.max_step_us)).target_us;
  targets_us_[prefill.seq] = target_us;
  return target_us;
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

double OptimalPlanner::TargetForQueue(const std::vector<Demand>& demands) const {
  double work_us = 0;
  for (const Demand& demand : demands) work_us += demand.work_us;
  int32_t num_prompts = static_cast<int32_t>(demands.size());
  for (const StepInFlight& step : in_flight_) {
    work_us += step.work_us;
    num_prompts += step.prompts;
  }
  if (num_prompts < 2) return 0;
  // N prompts of n chunks each keep P stages busy where n (N - 1) >= P - 1; longer chunks would leave them
  // idle.
  const double spread = work_us * (num_prompts - 1) / num_prompts / std::max(1, cost_.num_stages() - 1);
  const double overhead_us = cost_.BottleneckChunkUs(mean_len_ / 2, 1);
  return overhead_us + std::min({kQueueShare * spread, 0.7 * work_us / num_prompts, OverheadTarget()});
}

// With the prompts in the system spread over m steps, each is served once in the time of max(m, 1.25 P) of
// them. The largest m that is near the best: shorter steps, and less that waits for each other.
OptimalPlanner::Spread OptimalPlanner::SpreadWholePrompts(const std::vector<Demand>& demands) const {
  StepWork total;
  for (const Demand& demand : demands) total.Add(WorkOf({.pos = demand.pos, .len = demand.len}));
  const auto num_waiting = static_cast<double>(demands.size());
  double num_prompts = num_waiting;
  for (const StepInFlight& step : in_flight_) num_prompts += step.prompts;

  const double slots = cost_.num_stages();
  const auto step_us = [&](double m) {
    return cost_.BottleneckUs(Scaled(total, num_prompts / num_waiting / m));
  };
  double best_us = slots * step_us(1);
  for (double m = 2; m <= num_prompts; ++m) best_us = std::min(best_us, std::max(m, slots) * step_us(m));
  double steps = num_prompts;
  while (steps > 1 && std::max(steps, slots) * step_us(steps) > kNearlyBest * best_us) --steps;
  return {.step_us = step_us(steps),
          .num_prompts = num_prompts,
          .pays = 2 * steps <= num_prompts,
          .most_in_flight = static_cast<int32_t>(std::ceil(steps)),
          .num_steps = std::max(1, static_cast<int32_t>(std::lround(steps * num_waiting / num_prompts)))};
}

// Spreads the prompts over steps of equal time, the largest first, each into the step that has the least;
// those that go with the first in the order of service are the ones of this step.
void OptimalPlanner::ChooseWholePrompts(const StepQuery& query, const std::vector<Demand>& demands,
                                        int32_t num_steps) {
  std::vector<size_t> order(demands.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return demands[a].alone_us > demands[b].alone_us; });
  std::vector<StepWork> works(num_steps);
  std::vector<double> times_us(num_steps);
  std::vector<size_t> step_of(demands.size());
  for (size_t i : order) {
    const size_t step = std::min_element(times_us.begin(), times_us.end()) - times_us.begin();
    step_of[i] = step;
    works[step].Add(WorkOf({.pos = demands[i].pos, .len = demands[i].len}));
    times_us[step] = cost_.BottleneckUs(works[step]);
  }
  chosen_.clear();
  for (size_t i = 0; i < demands.size(); ++i) {
    if (step_of[i] == step_of[0]) chosen_.insert(query.prefills[i].seq);
  }
}

void OptimalPlanner::ForgetTheGone(const StepQuery& query) {
  // Steps that failed are not reported.
  while (static_cast<int32_t>(in_flight_.size()) > query.steps_in_flight) in_flight_.pop_front();
  if (targets_us_.size() <= 2 * query.prefills.size() + 16) return;
  std::unordered_map<SeqId, double> kept;
  for (const PrefillDemand& prefill : query.prefills) {
    const auto found = targets_us_.find(prefill.seq);
    if (found != targets_us_.end()) kept.insert(*found);
  }
  targets_us_ = std::move(kept);
}

void OptimalPlanner::BeginStep(const StepQuery& query) {
  step_has_prompts_ = false;
  planning_ = cost_.known() && !query.prefills.empty();
  if (!planning_) return;
  ForgetTheGone(query);

  std::vector<Demand> demands;
  bool all_whole = true;
  for (const PrefillDemand& prefill : query.prefills) {
    demands.push_back(Measure(prefill));
    all_whole &= demands.back().whole;
    const double len = prefill.pos + prefill.remaining;
    mean_len_ = mean_len_ == 0 ? len : 0.9 * mean_len_ + 0.1 * len;
  }

  const PrefillDemand& head = query.prefills.front();
  const double alone_us = TargetAlone(head);
  const double wanted_us = options_.fixed_target_us > 0 ? options_.fixed_target_us : TargetForQueue(demands);
  if (std::abs(wanted_us - queue_target_us_) > kHysteresis * queue_target_us_) queue_target_us_ = wanted_us;
  target_us_ = options_.fixed_target_us > 0 ? options_.fixed_target_us : std::max(alone_us, queue_target_us_);
  if (options_.max_step_us > 0) target_us_ = std::min(target_us_, options_.max_step_us);

  mode_ = Mode::kChunks;
  const bool several =
      demands.size() > 1 || std::any_of(in_flight_.begin(), in_flight_.end(),
                                        [](const StepInFlight& step) { return step.prompts > 0; });
  if (all_whole && several && options_.fixed_target_us == 0) {
    const auto longest =
        std::max_element(demands.begin(), demands.end(),
                         [](const Demand& a, const Demand& b) { return a.alone_us < b.alone_us; });
    const Spread spread = SpreadWholePrompts(demands);
    // Would the longest be cut, were it alone, or would it stretch the step that it is in?
    const double uncut_us = kOverrun * TargetAlone(query.prefills[longest - demands.begin()]);
    const bool pipeline_is_full = spread.num_prompts >= kSpareSlots * cost_.num_stages();
    if (longest->alone_us <= uncut_us ||
        (pipeline_is_full && spread.pays && longest->alone_us <= spread.step_us)) {
      // Not more steps at once than it takes to serve all: what comes now joins those that come back next.
      const bool enough = query.steps_in_flight >= std::max(cost_.num_stages(), spread.most_in_flight);
      mode_ = enough ? Mode::kNothing : Mode::kWhole;
      if (!enough) ChooseWholePrompts(query, demands, spread.num_steps);
      return;
    }
  }
  // Newcomers that are small against what else there is.
  small_us_ = kSmallPrompt * target_us_;
  if (demands.size() > 1 && demands.front().whole && demands.front().alone_us <= small_us_)
    mode_ = Mode::kSmall;
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
    len = EqualChunk(query, !step_has_prompts_);
  }
  if (len == 0) return 0;
  if (!step_has_prompts_) in_flight_.push_back({});
  step_has_prompts_ = true;
  double work_us = 0;
  for (const StageCost& stage : cost_.stages) work_us = std::max(work_us, stage.PureWork(query.pos, len));
  in_flight_.back().work_us += work_us;
  in_flight_.back().prompts += len == query.remaining;
  double& target_us = targets_us_[query.seq];
  target_us = std::max(target_us, target_us_);
  if (len == query.remaining) targets_us_.erase(query.seq);
  return len;
}

int32_t OptimalPlanner::EqualChunk(const ChunkQuery& query, bool first) const {
  const StepWork before = WorkOf(query.step_chunks);
  double target_us = target_us_;
  const auto found = targets_us_.find(query.seq);
  if (found != targets_us_.end()) target_us = std::max(target_us, found->second);
  if (options_.max_step_us > 0) target_us = std::min(target_us, options_.max_step_us);

  // What is in the step already takes its time away: the whole of it, as its constant is paid once.
  double used_us = 0;
  for (const StageCost& stage : cost_.stages) {
    if (before.seqs > 0) used_us = std::max(used_us, stage.Predict(before) - stage.Predict({}));
  }
  const double room_us = target_us - used_us;
  if (first) {
    const PlanLimits limits =
        LimitsFor(options_.max_step_us > 0 ? std::max(1.0, options_.max_step_us - used_us) : 0);
    const int32_t len = NextEqualChunk(cost_, query.pos, query.remaining,
                                       options_.max_step_us > 0 ? std::max(1.0, room_us) : target_us, limits);
    return Smoothed(std::min(len, query.max_len), query);
  }
  if (room_us < kLeastRest * target_us) return 0;
  // A further prompt in the step pays no constant of its own.
  double longest = LongestChunk(cost_, query.pos, room_us * kOverrun, query.max_len);
  if (longest >= query.remaining && query.remaining <= query.max_len) return query.remaining;
  longest = LongestChunk(cost_, query.pos, room_us, query.max_len);
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

void OptimalPlanner::OnStep(const StepTiming& timing) {
  const bool has_prompts = std::any_of(timing.chunks.begin(), timing.chunks.end(),
                                       [](const ChunkShape& chunk) { return !chunk.is_decode; });
  if (has_prompts && !in_flight_.empty()) in_flight_.pop_front();
}

}  // namespace penstock
