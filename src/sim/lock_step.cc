// SPDX-License-Identifier: Apache-2.0
#include "sim/lock_step.h"

#include <algorithm>

#include "base/check.h"

namespace penstock {

class LockStep::Port : public Executor {
 public:
  explicit Port(Member& member) : member_(member) {}

  int num_stages() const override { return member_.executor->num_stages(); }
  void Submit(std::unique_ptr<Step> step) override { member_.waiting.push_back(std::move(step)); }
  std::unique_ptr<StepResult> Poll() override { return member_.executor->Poll(); }
  FirstStageLoad FirstStage() const override {
    FirstStageLoad load = member_.executor->FirstStage();
    load.num_steps += static_cast<int32_t>(member_.waiting.size());
    return load;
  }
  void SetNotify(std::function<void()>) override {}
  void Cancel(SeqId seq) override { member_.executor->Cancel(seq); }

 private:
  Member& member_;
};

LockStep::LockStep(int num_replicas, int num_stages, JointStepCost cost, const VirtualClock& clock)
    : num_stages_(num_stages), cost_(std::move(cost)), clock_(clock), members_(num_replicas) {}

StepCost LockStep::CostOf(int replica) {
  return [this, replica](const Step& step, int stage) {
    Member& member = members_[replica];
    const auto found = member.times_us.find(step.step_id);
    CHECK(found != member.times_us.end());
    const int64_t time_us = found->second[stage];
    if (stage == num_stages_ - 1) member.times_us.erase(found);
    return time_us;
  };
}

std::unique_ptr<Executor> LockStep::MakePort(int replica, SimExecutor& executor) {
  members_[replica].executor = &executor;
  return std::make_unique<Port>(members_[replica]);
}

bool LockStep::BeginDue() {
  if (NextEventUs().value_or(clock_.now_us() + 1) > clock_.now_us()) return false;
  std::vector<const Step*> steps;
  for (const Member& member : members_)
    steps.push_back(member.waiting.empty() ? nullptr : member.waiting.front().get());
  std::vector<int64_t> times_us;
  for (int stage = 0; stage < num_stages_; ++stage) times_us.push_back(cost_(steps, stage));
  free_us_ = clock_.now_us() + times_us[0];
  for (Member& member : members_) {
    if (member.waiting.empty()) continue;
    std::unique_ptr<Step> step = std::move(member.waiting.front());
    member.waiting.pop_front();
    member.times_us[step->step_id] = times_us;
    member.executor->Submit(std::move(step));
  }
  return true;
}

std::optional<int64_t> LockStep::NextEventUs() const {
  const bool any = std::any_of(members_.begin(), members_.end(),
                               [](const Member& member) { return !member.waiting.empty(); });
  if (!any) return std::nullopt;
  return std::max(free_us_, clock_.now_us());
}

}  // namespace penstock
