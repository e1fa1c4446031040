// SharedExecutor: one of several engines' view of one executor. One of them at a time may have steps in
// flight: the one that was activated last.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "plan/executor.h"

namespace penstock {

class SharedExecutor : public Executor {
 public:
  // `shared` outlives it.
  explicit SharedExecutor(Executor& shared) : shared_(shared) {}

  // From now on results are told to this view's engine. REQUIRES: no step is in flight.
  void Activate() { shared_.SetNotify(notify_); }

  int num_stages() const override { return shared_.num_stages(); }
  void Submit(std::unique_ptr<Step> step) override { shared_.Submit(std::move(step)); }
  std::unique_ptr<StepResult> Poll() override { return shared_.Poll(); }
  FirstStageLoad FirstStage() const override { return shared_.FirstStage(); }
  void SetNotify(std::function<void()> notify) override { notify_ = std::move(notify); }
  Status Failure() const override { return shared_.Failure(); }
  void Cancel(SeqId seq) override { shared_.Cancel(seq); }

 private:
  Executor& shared_;
  std::function<void()> notify_;
};

}  // namespace penstock
