// Each stage is estimated for itself (stage_estimator.h). Refits take turns: one stage per step, a round
// every 16 steps (more often at first), at whose end the model is published if it has become another one.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimator.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/check.h"
#include "plan/quantile.h"
#include "plan/stage_estimator.h"

namespace penstock {
namespace {

constexpr int kEarlySteps = 64, kEarlyRound = 4, kRound = 16;
constexpr size_t kLeastKinds = 4;    // to begin with, without a prior
constexpr size_t kMostKinds = 4096;  // when so many are known, none is new
constexpr size_t kGridShapes = 64;   // most shapes of the grid by which models are compared
constexpr size_t kRecentGaps = 64, kRecentErrors = 200;
constexpr double kLeastStepUs = 0.1;  // no step is free
constexpr double kMostGapUs = 1e5;

// The last values of a series.
class Recent {
 public:
  explicit Recent(size_t capacity) : capacity_(capacity) {}
  void Add(double value) {
    if (values_.size() < capacity_) {
      values_.push_back(value);
    } else {
      values_[next_] = value;
    }
    next_ = (next_ + 1) % capacity_;
  }
  const std::vector<double>& values() const { return values_; }

 private:
  size_t capacity_;
  size_t next_ = 0;
  std::vector<double> values_;
};

// Steps of one kind have each of these between the same powers of two.
uint64_t KindOf(const StepWork& work) {
  uint64_t kind = 0;
  for (double value : {work.tokens - work.decode_tokens, work.history + work.decode_context, work.seqs,
                       work.decode_tokens}) {
    kind = kind << 8 | static_cast<uint64_t>(std::ilogb(std::max(value, 0.5)) + 1);
  }
  return kind;
}

// A model as if it had been measured: its steps, of the kinds of which it knows something.
std::vector<CostSample> SamplesOf(const StageCost& cost) {
  std::vector<StepWork> works;
  for (int32_t len : {16, 128, 512, 2048, 8192, 32768}) {
    for (int32_t pos : {0, 4096, 32768, 131072}) works.push_back(WorkOf(ChunkShape{.pos = pos, .len = len}));
    if (cost.seq_us > 0) {
      const std::vector<ChunkShape> chunks(8, {.pos = 4096, .len = len / 8});
      works.push_back(WorkOf(chunks));
    }
  }
  if (cost.decode_token_us > 0 || cost.decode_context_us > 0) {
    for (size_t num_seqs : {1, 8, 64}) {
      for (int32_t pos : {256, 4096, 32768}) {
        works.push_back(WorkOf(std::vector<ChunkShape>(num_seqs, {.pos = pos, .len = 1, .is_decode = true})));
      }
    }
  }
  std::vector<CostSample> samples;
  for (const StepWork& work : works) samples.push_back({.work = work, .time_us = cost.Predict(work)});
  return samples;
}

}  // namespace

class CostEstimator::Impl {
 public:
  Impl(int num_stages, EstimatorOptions options)
      : options_(options),
        stages_(num_stages, StageEstimator(options.half_life_steps)),
        previous_end_us_(num_stages, 0),
        gaps_(num_stages, Recent(kRecentGaps)) {}

  bool SetGrid(std::span<const std::vector<CostSample>> grid) {
    CHECK_EQ(grid.size(), stages_.size());
    bool all = true;
    grid_shapes_.clear();
    for (size_t s = 0; s < stages_.size(); ++s) {
      all = stages_[s].SetGrid(grid[s]) && all;
      for (const CostSample& sample : grid[s]) NoteGridShape(sample);
    }
    if (all) Publish();
    return all;
  }

  void SetPrior(const CostModel& prior) {
    CHECK_EQ(prior.stages.size(), stages_.size());
    grid_shapes_.clear();
    for (size_t s = 0; s < stages_.size(); ++s) {
      const std::vector<CostSample> samples = SamplesOf(prior.stages[s]);
      stages_[s].SetGrid(samples, prior.stages[s]);
    }
    Publish();
  }

  void OnStep(const StepWork& work, std::span<const StageStamp> stamps) {
    if (stamps.size() != stages_.size()) return;
    for (size_t s = 0; s < stamps.size(); ++s) {
      if (stamps[s].stage != static_cast<int32_t>(s)) return;
    }
    NoteGaps(stamps);
    if (!IsUsable({.work = work, .time_us = 1})) return;
    if (kinds_.size() < kMostKinds && kinds_.insert(KindOf(work)).second) return;
    NoteError(work, stamps);
    for (size_t s = 0; s < stages_.size(); ++s) {
      const CostSample sample{.work = work, .time_us = DurationUs(stamps[s])};
      if (IsUsable(sample)) stages_[s].OnStep(sample);
    }
    ++num_steps_;
    TakeTurn();
  }

  const CostModel& model() const { return model_; }
  int64_t version() const { return version_; }

  CostModel ModelToSave() const { return {published_}; }

  FitQuality recent_quality() const {
    return {.median_error = Quantile(errors_.values(), 0.5),
            .p90_error = Quantile(errors_.values(), 0.9),
            .num_samples = static_cast<int32_t>(errors_.values().size())};
  }

  double hop_gap_us() const {
    double sum = 0;
    for (const Recent& gaps : gaps_) sum += Quantile(gaps.values(), 0.5);
    return sum / static_cast<double>(gaps_.size());
  }

 private:
  // Stamps can be anything: in floating point nothing overflows.
  static double DurationUs(const StageStamp& stamp) {
    return static_cast<double>(stamp.end_us) - static_cast<double>(stamp.begin_us);
  }

  void NoteGridShape(const CostSample& sample) {
    if (!IsUsable(sample)) return;
    kinds_.insert(KindOf(sample.work));
    if (grid_shapes_.size() < kGridShapes) grid_shapes_.push_back(sample.work);
  }

  // The host's gap: the stage had the step and nothing else to do, and did not work on it yet.
  void NoteGaps(std::span<const StageStamp> stamps) {
    for (size_t s = 0; s < stamps.size(); ++s) {
      if (!(DurationUs(stamps[s]) > 0)) continue;
      const double ready_us = std::max(static_cast<double>(stamps[s].recv_us), previous_end_us_[s]);
      gaps_[s].Add(std::clamp(static_cast<double>(stamps[s].begin_us) - ready_us, 0.0, kMostGapUs));
      previous_end_us_[s] = static_cast<double>(stamps[s].end_us);
    }
  }

  void NoteError(const StepWork& work, std::span<const StageStamp> stamps) {
    if (!model_.known()) return;
    double slowest_us = 0, measured_us = 0;
    for (size_t s = 0; s < stamps.size(); ++s) {
      const double predicted_us = published_[s].Predict(work);
      if (predicted_us <= slowest_us) continue;
      slowest_us = predicted_us;
      measured_us = DurationUs(stamps[s]);
    }
    if (measured_us > 0) errors_.Add(std::abs(slowest_us - measured_us) / measured_us);
  }

  void TakeTurn() {
    if (!model_.known() && kinds_.size() < kLeastKinds) return;
    const int num_stages = static_cast<int>(stages_.size());
    const int round = std::max(num_steps_ < kEarlySteps ? kEarlyRound : kRound, num_stages);
    if (turn_ < num_stages) stages_[turn_].Refit();
    if (++turn_ < round) return;
    turn_ = 0;
    if (HasChanged()) Publish();
  }

  bool HasChanged() const {
    for (size_t s = 0; s < stages_.size(); ++s) {
      if (!stages_[s].known()) return false;
    }
    if (!model_.known()) return true;
    for (size_t s = 0; s < stages_.size(); ++s) {
      const double gap_us = Quantile(gaps_[s].values(), 0.5);
      const auto differs = [&](const StepWork& work) {
        const double before = model_.stages[s].Predict(work);
        return std::abs(stages_[s].cost().Predict(work) + gap_us - before) >
               options_.publish_threshold * before;
      };
      if (std::any_of(grid_shapes_.begin(), grid_shapes_.end(), differs)) return true;
      for (const CostSample& sample : stages_[s].window()) {
        if (differs(sample.work)) return true;
      }
    }
    return false;
  }

  void Publish() {
    published_.clear();
    model_.stages.clear();
    for (size_t s = 0; s < stages_.size(); ++s) {
      StageCost cost = stages_[s].cost();
      if (!(cost.Predict({.tokens = 1}) > 0)) cost.step_us = kLeastStepUs;
      published_.push_back(cost);
      model_.stages.push_back(cost);
      model_.stages[s].step_us += Quantile(gaps_[s].values(), 0.5);
    }
    ++version_;
  }

  const EstimatorOptions options_;
  std::vector<StageEstimator> stages_;
  std::vector<double> previous_end_us_;  // [num_stages]
  std::vector<Recent> gaps_;             // [num_stages]
  Recent errors_{kRecentErrors};
  std::unordered_set<uint64_t> kinds_;
  std::vector<StepWork> grid_shapes_;
  int64_t num_steps_ = 0;
  int turn_ = 0;
  std::vector<StageCost> published_;  // the model without gaps
  CostModel model_;
  int64_t version_ = 0;
};

CostEstimator::CostEstimator(int num_stages, EstimatorOptions options)
    : impl_(std::make_unique<Impl>(num_stages, options)) {
  CHECK_GT(num_stages, 0);
}
CostEstimator::~CostEstimator() = default;

bool CostEstimator::SetGrid(std::span<const std::vector<CostSample>> grid) { return impl_->SetGrid(grid); }
void CostEstimator::SetPrior(const CostModel& prior) { impl_->SetPrior(prior); }
void CostEstimator::OnStep(const StepWork& work, std::span<const StageStamp> stamps) {
  impl_->OnStep(work, stamps);
}
const CostModel& CostEstimator::model() const { return impl_->model(); }
CostModel CostEstimator::ModelToSave() const { return impl_->ModelToSave(); }
int64_t CostEstimator::version() const { return impl_->version(); }
FitQuality CostEstimator::recent_quality() const { return impl_->recent_quality(); }
double CostEstimator::hop_gap_us() const { return impl_->hop_gap_us(); }

}  // namespace penstock
