// RecordingExecutor: an executor that remembers what each step held and how long each stage took.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "plan/cost_fit.h"
#include "plan/executor.h"

namespace penstock {

class RecordingExecutor : public Executor {
 public:
  // `inner` outlives it.
  explicit RecordingExecutor(Executor& inner) : inner_(inner), samples_(inner.num_stages()) {}

  // [num_stages] lists, one sample for each step that has come back since the last call. Thread-safe.
  std::vector<std::vector<CostSample>> TakeSamples();

  int num_stages() const override { return inner_.num_stages(); }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override { return inner_.FirstStage(); }
  void SetNotify(std::function<void()> notify) override { inner_.SetNotify(std::move(notify)); }
  Status Failure() const override { return inner_.Failure(); }
  void Cancel(SeqId seq) override { inner_.Cancel(seq); }

 private:
  Executor& inner_;
  std::mutex mutex_;
  std::deque<StepWork> in_flight_;                // GUARDED_BY(mutex_)
  std::vector<std::vector<CostSample>> samples_;  // GUARDED_BY(mutex_)
};

}  // namespace penstock
