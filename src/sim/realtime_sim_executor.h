// RealtimeSimExecutor: a SimExecutor that lives in real time, for tests of threads and of the server without
// a model. It takes the time that its cost function says, and no CPU.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plan/executor.h"
#include "sim/sim_executor.h"
#include "sim/virtual_clock.h"

namespace penstock {

class RealtimeSimExecutor : public Executor {
 public:
  explicit RealtimeSimExecutor(SimConfig config);
  ~RealtimeSimExecutor() override;

  int num_stages() const override { return num_stages_; }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override;
  void SetNotify(std::function<void()> notify) override;
  void Cancel(SeqId seq) override;

  // While hung, no result comes back.
  void SetHung(bool hung);
  std::vector<std::string> violations() const;

 private:
  void Run();
  void CatchUp();  // brings the clock to the present; mutex_ held

  const int num_stages_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  VirtualClock clock_;                               // GUARDED_BY(mutex_): follows NowUs()
  SimExecutor sim_;                                  // GUARDED_BY(mutex_)
  std::deque<std::unique_ptr<StepResult>> results_;  // GUARDED_BY(mutex_)
  std::function<void()> notify_;                     // GUARDED_BY(mutex_)
  int32_t first_stage_steps_ = 0;                    // GUARDED_BY(mutex_): as last told
  bool hung_ = false;                                // GUARDED_BY(mutex_)
  bool stop_ = false;                                // GUARDED_BY(mutex_)
  std::thread thread_;
};

}  // namespace penstock
