// SPDX-License-Identifier: Apache-2.0
#include "apps/sequence_parallel.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <semaphore>

#include "apps/rank_setup.h"
#include "base/log.h"
#include "base/percentile.h"
#include "engine/calibration_steps.h"

namespace penstock {
namespace {

constexpr int32_t kSmallestStep = 32;
constexpr int32_t kGrowth = 4;  // large steps decide, and cost the most
constexpr int kRepeats = 5;
constexpr double kBudgetUs = 5e6;

// Runs steps one at a time; they take as long as all stages work on them. Several executors run the same step
// together, and the first one's time counts.
class StepTimer {
 public:
  StepTimer(const EnginePlan& plan, std::span<Pipeline* const> pipelines,
            std::span<Executor* const> executors)
      : pipelines_(pipelines), executors_(executors) {
    const CalibrationLimits limits = {.max_chunk = plan.options.max_batched_tokens,
                                      .max_len = plan.options.max_model_len,
                                      .max_num_seqs = 1,
                                      .num_blocks = plan.memory.num_blocks,
                                      .block_size = plan.options.block_size,
                                      .vocab_size = plan.model.vocab_size};
    for (Executor* const executor : executors_) {
      steps_.emplace_back(limits, /*seed=*/0);
      executor->SetNotify([this] { wake_.release(); });
    }
  }
  ~StepTimer() {
    for (Executor* const executor : executors_) executor->SetNotify(nullptr);
  }

  int32_t max_tokens() const { return steps_.front().max_chunk(); }

  Result<double> Run(int32_t tokens, bool sequence_parallel) {
    for (Pipeline* const pipeline : pipelines_) {
      pipeline->SetSequenceParallelMinTokens(sequence_parallel ? std::optional(1) : std::nullopt);
    }
    for (size_t i = 0; i < executors_.size(); ++i) {
      executors_[i]->Submit(steps_[i].Make({.chunk = {.pos = 0, .len = tokens}}));
    }
    Status status;
    double time_us = 0;
    for (size_t i = 0; i < executors_.size(); ++i) {
      std::unique_ptr<StepResult> result;
      while ((result = executors_[i]->Poll()) == nullptr) wake_.acquire();
      steps_[i].OnResult();
      if (status.ok()) status = result->status;
      for (const StageStamp& stamp : result->stamps) {
        if (i == 0) time_us += static_cast<double>(stamp.end_us - stamp.begin_us);
      }
    }
    RETURN_IF_ERROR(status);
    return time_us;
  }

 private:
  const std::span<Pipeline* const> pipelines_;
  const std::span<Executor* const> executors_;
  std::deque<CalibrationSteps> steps_;  // of each executor
  std::counting_semaphore<> wake_{0};
};

double Median(std::span<const double> values) { return Percentile(values, 50); }

}  // namespace

std::optional<int32_t> SmallestPayingStep(std::span<const SequenceParallelTimes> times) {
  if (times.empty()) return std::nullopt;
  const auto x = [&](size_t i) { return 1.0 / times[i].tokens; };
  const auto gain = [&](size_t i) { return 1 - times[i].with_us / times[i].without_us; };
  std::vector<double> slopes, offsets;
  for (size_t i = 0; i < times.size(); ++i) {
    for (size_t j = i + 1; j < times.size(); ++j) slopes.push_back((gain(j) - gain(i)) / (x(j) - x(i)));
  }
  const double slope = slopes.empty() ? 0 : Median(slopes);
  for (size_t i = 0; i < times.size(); ++i) offsets.push_back(gain(i) - slope * x(i));
  const double offset = Median(offsets);
  const int32_t first = times.front().tokens, last = times.back().tokens;
  if (offset + slope / last <= 0) return std::nullopt;
  if (offset + slope / first > 0) return first;
  return static_cast<int32_t>(std::ceil(-slope / offset));
}

Result<std::vector<SequenceParallelTimes>> TimeSequenceParallel(int32_t max_tokens, double budget_us,
                                                                const TimeStep& step_us) {
  std::vector<SequenceParallelTimes> all;
  double spent_us = 0, pair_us = 0;  // the latter: of a step both ways, as it is expected to be
  for (int32_t tokens = std::min(kSmallestStep, max_tokens); tokens > 0 && spent_us + pair_us <= budget_us;) {
    std::vector<double> times_us[2];  // without, with
    for (int i = 0; i < kRepeats && (i == 0 || spent_us + pair_us <= budget_us); ++i) {
      pair_us = 0;
      for (const bool is_on : {false, true}) {
        ASSIGN_OR_RETURN(const double time_us, step_us(tokens, is_on));
        times_us[is_on].push_back(time_us);
        pair_us += time_us;
      }
      spent_us += pair_us;
    }
    all.push_back({tokens, Median(times_us[0]), Median(times_us[1])});
    pair_us *= kGrowth;
    tokens = tokens == max_tokens ? 0 : std::min(kGrowth * tokens, max_tokens);
  }
  return all;
}

Status ChooseSequenceParallel(const RunConfig& run, const EnginePlan& plan,
                              std::span<Pipeline* const> pipelines, std::span<Executor* const> executors) {
  if (!run.sequence_parallel) return OkStatus();
  if (plan.layout.tp == 1) {
    LogInfo("--enable-sequence-parallel has no effect: there is no tensor parallelism");
    return OkStatus();
  }
  std::optional<int32_t> min_tokens = run.sequence_parallel_min_tokens;
  if (!min_tokens) {
    StepTimer timer(plan, pipelines, InLockStep(plan) ? executors : executors.first(1));
    ASSIGN_OR_RETURN(const std::vector<SequenceParallelTimes> times,
                     TimeSequenceParallel(timer.max_tokens(), kBudgetUs, [&](int32_t tokens, bool is_on) {
                       return timer.Run(tokens, is_on);
                     }));
    for (const SequenceParallelTimes& time : times) {
      LogDebug("steps of {} tokens: {:.2f} ms, sequence-parallel {:.2f} ms", time.tokens,
               time.without_us / 1000, time.with_us / 1000);
    }
    min_tokens = SmallestPayingStep(times);
    const int32_t most = times.empty() ? 0 : times.back().tokens;
    if (!min_tokens) {
      LogInfo("Sequence parallelism does not pay, as measured with steps of up to {} tokens: not used", most);
    }
  }
  if (min_tokens) LogInfo("Sequence parallelism is used in steps of {} tokens or more", *min_tokens);
  for (Pipeline* const pipeline : pipelines) pipeline->SetSequenceParallelMinTokens(min_tokens);
  return OkStatus();
}

}  // namespace penstock
