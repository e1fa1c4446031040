// SPDX-License-Identifier: Apache-2.0
#include "apps/sequence_parallel.h"

#include <algorithm>
#include <semaphore>

#include "base/log.h"
#include "engine/calibration_steps.h"

namespace penstock {
namespace {

constexpr int32_t kSmallestStep = 32;
constexpr int kRepeats = 3;
constexpr double kBudgetUs = 1e6;

// Runs steps one at a time; they take as long as all stages work on them.
class StepTimer {
 public:
  StepTimer(const EnginePlan& plan, Pipeline& pipeline)
      : pipeline_(pipeline),
        steps_({.max_chunk = plan.options.max_batched_tokens,
                .max_len = plan.options.max_model_len,
                .max_num_seqs = 1,
                .num_blocks = plan.memory.num_blocks,
                .block_size = plan.options.block_size,
                .vocab_size = plan.model.vocab_size},
               /*seed=*/0) {
    pipeline_.SetNotify([this] { wake_.release(); });
  }
  ~StepTimer() { pipeline_.SetNotify(nullptr); }

  int32_t max_tokens() const { return steps_.max_chunk(); }

  Result<double> Run(int32_t tokens, bool sequence_parallel) {
    pipeline_.SetSequenceParallelMinTokens(sequence_parallel ? std::optional(1) : std::nullopt);
    pipeline_.Submit(steps_.Make({.chunk = {.pos = 0, .len = tokens}}));
    std::unique_ptr<StepResult> result;
    while ((result = pipeline_.Poll()) == nullptr) wake_.acquire();
    steps_.OnResult();
    RETURN_IF_ERROR(result->status);
    double time_us = 0;
    for (const StageStamp& stamp : result->stamps) {
      time_us += static_cast<double>(stamp.end_us - stamp.begin_us);
    }
    return time_us;
  }

 private:
  Pipeline& pipeline_;
  CalibrationSteps steps_;
  std::counting_semaphore<> wake_{0};
};

}  // namespace

std::optional<int32_t> SmallestPayingStep(std::span<const SequenceParallelTimes> times) {
  std::optional<int32_t> smallest;
  for (size_t i = times.size(); i-- > 0 && times[i].with_us < times[i].without_us;)
    smallest = times[i].tokens;
  return smallest;
}

Result<std::vector<SequenceParallelTimes>> TimeSequenceParallel(int32_t max_tokens, double budget_us,
                                                                const TimeStep& step_us) {
  std::vector<SequenceParallelTimes> all;
  double spent_us = 0;
  int32_t tokens = std::min(kSmallestStep, max_tokens);
  for (double guess_us = 0; tokens > 0 && spent_us + guess_us <= budget_us; guess_us *= 2) {
    SequenceParallelTimes times{.tokens = tokens};
    const double before_us = spent_us;
    for (int i = 0; i < kRepeats; ++i) {
      for (const bool is_on : {false, true}) {
        ASSIGN_OR_RETURN(const double time_us, step_us(tokens, is_on));
        double& best_us = is_on ? times.with_us : times.without_us;
        best_us = i == 0 ? time_us : std::min(best_us, time_us);
        spent_us += time_us;
      }
    }
    all.push_back(times);
    guess_us = spent_us - before_us;
    tokens = tokens == max_tokens ? 0 : std::min(2 * tokens, max_tokens);
  }
  return all;
}

Status ChooseSequenceParallel(const RunConfig& run, const EnginePlan& plan, Pipeline& pipeline) {
  if (!run.sequence_parallel) return OkStatus();
  if (plan.layout.tp == 1) {
    LogInfo("--enable-sequence-parallel has no effect: there is no tensor parallelism");
    return OkStatus();
  }
  std::optional<int32_t> min_tokens = run.sequence_parallel_min_tokens;
  if (!min_tokens) {
    StepTimer timer(plan, pipeline);
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
  pipeline.SetSequenceParallelMinTokens(min_tokens);
  return OkStatus();
}

}  // namespace penstock
