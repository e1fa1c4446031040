// Waves are numbered from 1, and their numbers are the ids of the pipelines' steps; parts remember the
// engines' own.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/lock_step.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int32_t kMostWavesAtFirstStage = 2;  // one that it works on, and the next

bool Has(const Step& step, SeqId seq) {
  return std::ranges::any_of(step.chunks, [seq](const Chunk& chunk) { return chunk.seq == seq; });
}

}  // namespace

class LockStepPipelines::View : public Executor {
 public:
  View(LockStepPipelines& all, int idx) : all_(all), idx_(idx) {}

  int num_stages() const override { return all_.replicas_[idx_].pipeline->num_stages(); }
  void Submit(std::unique_ptr<Step> step) override { all_.Submit(idx_, std::move(step)); }
  std::unique_ptr<StepResult> Poll() override { return all_.Poll(idx_); }
  FirstStageLoad FirstStage() const override { return all_.FirstStage(idx_); }
  Status Failure() const override { return all_.replicas_[idx_].pipeline->Failure(); }
  void SetNotify(std::function<void()> notify) override { all_.SetNotify(idx_, std::move(notify)); }
  void Cancel(SeqId seq) override { all_.Cancel(idx_, seq); }

 private:
  LockStepPipelines& all_;
  const int idx_;
};

LockStepPipelines::LockStepPipelines(std::vector<std::unique_ptr<Executor>> pipelines)
    : replicas_(pipelines.size()) {
  CHECK(!pipelines.empty());
  for (size_t i = 0; i < pipelines.size(); ++i) {
    const int idx = static_cast<int>(i);
    replicas_[i].view = std::make_unique<View>(*this, idx);
    replicas_[i].pipeline = std::move(pipelines[i]);
    CHECK_EQ(replicas_[i].pipeline->num_stages(), replicas_[0].pipeline->num_stages());
    replicas_[i].pipeline->SetNotify([this, idx] { OnNotify(idx); });
  }
}

LockStepPipelines::~LockStepPipelines() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    for (Replica& replica : replicas_) replica.notify = nullptr;
    changed_.wait(lock, [this] {
      return std::ranges::all_of(replicas_, [](const Replica& replica) { return replica.parts.empty(); });
    });
    ended_ = true;
  }
  // Whose threads may still call OnNotify(): what that looks at is there until they are gone.
  for (Replica& replica : replicas_) replica.pipeline.reset();
}

Executor& LockStepPipelines::replica(int idx) { return *replicas_.at(idx).view; }

LockStepPipelines::Counts LockStepPipelines::counts() const {
  std::lock_guard lock(mutex_);
  return {.waves = last_wave_, .empty_steps = empty_steps_};
}

void LockStepPipelines::Submit(int idx, std::unique_ptr<Step> step) {
  CHECK_GE(step->step_id, 1u);
  std::lock_guard lock(mutex_);
  replicas_[idx].waiting.push_back(std::move(step));
  FormWaves();
}

std::unique_ptr<StepResult> LockStepPipelines::Poll(int idx) {
  std::lock_guard lock(mutex_);
  Replica& replica = replicas_[idx];
  TakeResults(replica);
  if (replica.results.empty()) return nullptr;
  std::unique_ptr<StepResult> result = std::move(replica.results.front());
  replica.results.pop_front();
  return result;
}

FirstStageLoad LockStepPipelines::FirstStage(int idx) const {
  std::lock_guard lock(mutex_);
  const Replica& replica = replicas_[idx];
  const FirstStageLoad waves = replica.pipeline->FirstStage();
  FirstStageLoad load{.num_steps = static_cast<int32_t>(replica.waiting.size()), .begin_us = {}};
  // Those at the first stage are the latest of those in flight.
  const auto at_first = std::min<size_t>(waves.num_steps, replica.parts.size());
  for (size_t i = replica.parts.size() - at_first; i < replica.parts.size(); ++i) {
    load.num_steps += replica.parts[i].step_id != 0;
  }
  if (at_first > 0 && replica.parts[replica.parts.size() - at_first].step_id != 0) {
    load.begin_us = waves.begin_us;
  }
  return load;
}

void LockStepPipelines::SetNotify(int idx, std::function<void()> notify) {
  std::lock_guard lock(mutex_);
  replicas_[idx].notify = notify ? std::make_shared<const std::function<void()>>(std::move(notify)) : nullptr;
}

void LockStepPipelines::Cancel(int idx, SeqId seq) {
  std::lock_guard lock(mutex_);
  Replica& replica = replicas_[idx];
  replica.pipeline->Cancel(seq);
  const bool waits =
      std::ranges::any_of(replica.waiting, [seq](const auto& step) { return Has(*step, seq); });
  if (waits) replica.cancelled.insert(seq);
}

void LockStepPipelines::OnNotify(int idx) {
  std::shared_ptr<const std::function<void()>> notify;
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    Replica& replica = replicas_[idx];
    TakeResults(replica);
    FormWaves();
    // An engine that waits for nothing sleeps through the others' waves.
    const bool concerned =
        !replica.results.empty() || !replica.waiting.empty() ||
        std::ranges::any_of(replica.parts, [](const Part& part) { return part.step_id != 0; });
    if (concerned) notify = replica.notify;  // called without the lock, and kept until it has returned
    changed_.notify_all();
  }
  if (notify) (*notify)();
}

void LockStepPipelines::TakeResults(Replica& replica) {
  while (std::unique_ptr<StepResult> result = replica.pipeline->Poll()) {
    CHECK(!replica.parts.empty());
    Part part = std::move(replica.parts.front());
    replica.parts.pop_front();
    if (part.step_id == 0) continue;
    result->step_id = part.step_id;
    result->skipped.insert(result->skipped.begin(), part.skipped.begin(), part.skipped.end());
    replica.results.push_back(std::move(result));
  }
}

void LockStepPipelines::FormWaves() {
  while (!stopping_) {
    bool any_waits = false;
    int32_t most_at_first = 0;
    for (const Replica& replica : replicas_) {
      any_waits |= !replica.waiting.empty();
      most_at_first = std::max(most_at_first, replica.pipeline->FirstStage().num_steps);
    }
    if (!any_waits || most_at_first >= kMostWavesAtFirstStage) return;
    FormWave();
  }
}

void LockStepPipelines::FormWave() {
  ++last_wave_;
  for (Replica& replica : replicas_) {
    auto step = std::make_unique<Step>();
    Part part;
    if (replica.waiting.empty()) {
      ++empty_steps_;
    } else {
      step = std::move(replica.waiting.front());
      replica.waiting.pop_front();
      part = Join(replica, step.get());
    }
    step->step_id = last_wave_;
    replica.parts.push_back(std::move(part));
    replica.pipeline->Submit(std::move(step));
  }
}

// The pipeline knows of cancellations up to its latest step only.
LockStepPipelines::Part LockStepPipelines::Join(Replica& replica, Step* step) {
  Part part{.step_id = step->step_id, .skipped = {}};
  if (replica.cancelled.empty()) return part;
  std::erase_if(step->chunks, [&](const Chunk& chunk) {
    const bool drop = replica.cancelled.contains(chunk.seq);
    if (drop) part.skipped.push_back(chunk.seq);
    return drop;
  });
  std::erase_if(replica.cancelled, [&](SeqId seq) {
    return std::ranges::none_of(replica.waiting, [seq](const auto& other) { return Has(*other, seq); });
  });
  return part;
}

namespace {

class OwningView : public Executor {
 public:
  OwningView(std::shared_ptr<LockStepPipelines> all, int idx)
      : all_(std::move(all)), view_(all_->replica(idx)) {}

  int num_stages() const override { return view_.num_stages(); }
  void Submit(std::unique_ptr<Step> step) override { view_.Submit(std::move(step)); }
  std::unique_ptr<StepResult> Poll() override { return view_.Poll(); }
  FirstStageLoad FirstStage() const override { return view_.FirstStage(); }
  Status Failure() const override { return view_.Failure(); }
  void SetNotify(std::function<void()> notify) override { view_.SetNotify(std::move(notify)); }
  void Cancel(SeqId seq) override { view_.Cancel(seq); }

 private:
  const std::shared_ptr<LockStepPipelines> all_;
  Executor& view_;
};

}  // namespace

std::vector<std::unique_ptr<Executor>> MakeLockStep(std::vector<std::unique_ptr<Executor>> pipelines) {
  const auto all = std::make_shared<LockStepPipelines>(std::move(pipelines));
  std::vector<std::unique_ptr<Executor>> views;
  for (int i = 0; i < all->num_replicas(); ++i) views.push_back(std::make_unique<OwningView>(all, i));
  return views;
}

}  // namespace penstock
