// SPDX-License-Identifier: Apache-2.0
#include "engine/calibration.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

constexpr size_t kNotMeasured = std::numeric_limits<size_t>::max();
// Shares of the budget: the longest step, all probes together, and where what was guessed too low is cut off.
constexpr double kLongestStep = 1.0 / 8;
constexpr double kProbes = 0.3;
constexpr double kTooLong = 1.15;
// Short steps suffer most from whatever else the machine does, and cost little: each is run some more times.
constexpr double kShortStep = 1.0 / 1000;
constexpr int kShortRepeats = 3;
constexpr int32_t kHistoryProbeChunk = 64;
constexpr double kHistoryProbeShares[] = {1.0 / 16, 1.0 / 4, 1.0};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

template <typename Measured>
double BottleneckUs(const Measured& measured) {
  double most = 0;
  for (const std::vector<double>& times : measured.times_us) {
    if (!times.empty()) most = std::max(most, Median(times));
  }
  return most;
}

template <typename Measured>
std::vector<std::vector<CostSample>> SamplesOf(const std::vector<Measured>& all, int num_stages) {
  std::vector<std::vector<CostSample>> samples(num_stages);
  for (const Measured& measured : all) {
    for (int stage = 0; stage < num_stages; ++stage) {
      const std::vector<double>& times = measured.times_us[stage];
      if (!times.empty()) samples[stage].push_back({.work = measured.shape.Work(), .time_us = Median(times)});
    }
  }
  return samples;
}

}  // namespace

Calibrator::Calibrator(const CalibrationOptions& options)
    : options_(options), steps_(options.limits, options.seed) {
  CHECK_GT(options.num_stages, 0);
  if (steps_.max_chunk() == 0) {
    phase_ = Phase::kDone;
    return;
  }
  Probe({.chunk = {.pos = 0, .len = ChunkLadder(steps_.max_chunk()).front()}}, /*is_warm_up=*/true);
  ProbeNextChunk();
}

std::unique_ptr<Step> Calibrator::Next() {
  // Probes one at a time: each decides on the next.
  const size_t most = phase_ == Phase::kGrid ? static_cast<size_t>(options_.num_stages) + 1 : 1;
  if (waiting_.empty() || in_flight_.size() >= most) return nullptr;
  in_flight_.push_back(waiting_.front());
  waiting_.pop_front();
  ++num_steps_;
  return steps_.Make(in_flight_.back().shape);
}

void Calibrator::OnResult(const StepResult& result) {
  CHECK(!in_flight_.empty());
  const InFlight step = in_flight_.front();
  in_flight_.pop_front();
  steps_.OnResult();
  if (phase_ == Phase::kDone) return;
  const bool is_whole =
      result.status.ok() && result.stamps.size() == static_cast<size_t>(options_.num_stages);
  if (!is_whole) {
    if (status_.ok())
      status_ = result.status.ok() ? Internal("a step came back without stamps") : result.status;
    waiting_.clear();
    phase_ = Phase::kDone;
    return;
  }
  if (!begin_us_) begin_us_ = result.stamps.front().begin_us;
  spent_us_ = result.stamps.back().end_us - *begin_us_;
  if (step.measured_idx != kNotMeasured) {
    Measured& measured = (phase_ == Phase::kGrid ? grid_ : probes_)[step.measured_idx];
    for (int stage = 0; stage < options_.num_stages; ++stage) {
      const StageStamp& stamp = result.stamps[stage];
      measured.times_us[stage].push_back(static_cast<double>(stamp.end_us - stamp.begin_us));
    }
  }
  if (phase_ == Phase::kGrid) left_us_ -= GuessUs(rough_, step.shape);
  EndIfTooLong();
  if (!waiting_.empty() || !in_flight_.empty()) return;
  switch (phase_) {
    case Phase::kChunks:
      return ProbeNextChunk();
    case Phase::kHistories:
      return ProbeNextHistory();
    case Phase::kDecodes:
      return BeginGrid();
    default:
      phase_ = Phase::kDone;
  }
}

void Calibrator::Probe(const CalibrationShape& shape, bool is_warm_up) {
  waiting_.push_back({shape, is_warm_up ? kNotMeasured : probes_.size()});
  if (!is_warm_up) probes_.push_back({shape, std::vector<std::vector<double>>(options_.num_stages)});
}

// Twice as long as the one before, while that can be afforded.
void Calibrator::ProbeNextChunk() {
  const std::vector<int32_t> ladder = ChunkLadder(steps_.max_chunk());
  const double budget_us = static_cast<double>(options_.budget_us);
  bool affordable = next_ladder_ < ladder.size();
  if (affordable && next_ladder_ > 0) {
    const double growth = static_cast<double>(ladder[next_ladder_]) / ladder[next_ladder_ - 1];
    const double guess_us = growth * BottleneckUs(probes_.back());
    affordable = guess_us <= kLongestStep * budget_us &&
                 static_cast<double>(spent_us_) + options_.num_stages * guess_us <= kProbes * budget_us;
  }
  if (affordable) return Probe({.chunk = {.pos = 0, .len = ladder[next_ladder_++]}});
  phase_ = Phase::kHistories;
  next_ladder_ = 0;
  ProbeNextHistory();
}

void Calibrator::ProbeNextHistory() {
  const int32_t len =
      std::min(kHistoryProbeChunk, probes_[std::min<size_t>(2, probes_.size() - 1)].shape.chunk.len);
  while (next_ladder_ < std::size(kHistoryProbeShares)) {
    const double share = kHistoryProbeShares[next_ladder_++];
    const int32_t block_size = options_.limits.block_size;
    const int32_t pos = static_cast<int32_t>(share * steps_.MaxHistory(len)) / block_size * block_size;
    if (TryHistory({.pos = pos, .len = len})) return;
  }
  ProbeDecodes();
}

void Calibrator::ProbeDecodes() {
  phase_ = Phase::kDecodes;
  const int32_t pos = options_.limits.block_size;
  if (steps_.max_decodes() == 0 || steps_.MaxHistory(1) < pos) return BeginGrid();
  for (int32_t num : {1, steps_.max_decodes()}) {
    Probe({.chunk = {.pos = pos, .len = 1, .is_decode = true}, .num = num});
  }
}

// Whether a step of this shape is worth its time, in proportion to the last history.
bool Calibrator::TryHistory(const ChunkShape& shape) {
  const auto without = std::find_if(probes_.begin(), probes_.end(), [&](const Measured& probe) {
    return probe.shape.chunk.pos == 0 && probe.shape.chunk.len == shape.len;
  });
  CHECK(without != probes_.end());
  const ChunkShape& last = probes_.back().shape.chunk;
  if (shape.pos == 0 || (last.len == shape.len && shape.pos <= last.pos)) return false;
  double guess_us = BottleneckUs(*without);
  if (last.pos > 0) {
    const double growth = static_cast<double>(shape.pos) / last.pos;
    guess_us += growth * std::max(BottleneckUs(probes_.back()) - guess_us, 0.0);
  }
  if (guess_us > kLongestStep * static_cast<double>(options_.budget_us)) return false;
  const bool is_first = last.pos == 0;
  if (is_first) Probe({.chunk = shape}, /*is_warm_up=*/true);
  Probe({.chunk = shape});
  return true;
}

void Calibrator::BeginGrid() {
  phase_ = Phase::kGrid;
  for (const std::vector<CostSample>& samples : SamplesOf(probes_, options_.num_stages)) {
    rough_.stages.push_back(FitStageCost(samples).cost);
  }
  const double budget_us = static_cast<double>(options_.budget_us - spent_us_);
  for (const CalibrationShape& shape : DesignGrid(steps_, options_.limits.block_size, rough_, budget_us)) {
    grid_.push_back({shape, std::vector<std::vector<double>>(options_.num_stages)});
  }
  // From short to long steps and back: neighbours in the pipeline take about the same time, so none waits
  // long.
  std::vector<size_t> order(grid_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (int repeat = 0; repeat < kCalibrationRepeats; ++repeat) {
    for (size_t idx : order) {
      const double guess_us = GuessUs(rough_, grid_[idx].shape);
      const bool is_short = guess_us <= kShortStep * static_cast<double>(options_.budget_us);
      for (int i = 0; i < (is_short ? kShortRepeats : 1); ++i) {
        waiting_.push_back({grid_[idx].shape, idx});
        left_us_ += guess_us;
      }
    }
    std::reverse(order.begin(), order.end());
  }
}

void Calibrator::EndIfTooLong() {
  if (phase_ != Phase::kGrid) return;
  double end_us = static_cast<double>(spent_us_);
  for (const InFlight& step : in_flight_) end_us += GuessUs(rough_, step.shape);
  if (end_us > kTooLong * static_cast<double>(options_.budget_us)) waiting_.clear();
}

int64_t Calibrator::total_us() const {
  if (phase_ == Phase::kDone) return spent_us_;
  if (phase_ != Phase::kGrid) return std::max(options_.budget_us, spent_us_);
  return spent_us_ + static_cast<int64_t>(std::max(left_us_, 0.0));
}

std::vector<std::vector<CostSample>> Calibrator::Samples() const {
  std::vector<std::vector<CostSample>> samples = SamplesOf(grid_, options_.num_stages);
  if (grid_.empty()) return samples;
  // Chunks too long to be in the grid were measured once, and count for less.
  std::vector<Measured> others = probes_;
  std::erase_if(others, [&](const Measured& probe) {
    const bool is_plain = probe.shape.chunk.pos == 0;
    return !is_plain || std::ranges::any_of(grid_, [&](const Measured& m) { return m.shape == probe.shape; });
  });
  const std::vector<std::vector<CostSample>> more = SamplesOf(others, options_.num_stages);
  for (size_t stage = 0; stage < samples.size(); ++stage) {
    for (CostSample sample : more[stage]) {
      sample.weight = 1.0 / kCalibrationRepeats;
      samples[stage].push_back(sample);
    }
  }
  return samples;
}

Status RunCalibration(Executor& executor, Calibrator& calibrator,
                      const std::function<void(int64_t spent_us, int64_t total_us)>& on_progress) {
  CHECK_EQ(executor.num_stages(), calibrator.num_stages());
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ringing = false;  // GUARDED_BY(mutex)
  };
  const auto bell = std::make_shared<Bell>();  // the executor may ring once more when this has returned
  executor.SetNotify([bell] {
    std::lock_guard lock(bell->mutex);
    bell->ringing = true;
    bell->rung.notify_one();
  });
  while (!calibrator.done()) {
    while (std::unique_ptr<Step> step = calibrator.Next()) executor.Submit(std::move(step));
    std::unique_ptr<StepResult> result = executor.Poll();
    if (!result) {
      std::unique_lock lock(bell->mutex);
      bell->rung.wait(lock, [&] { return bell->ringing; });
      bell->ringing = false;
      continue;
    }
    calibrator.OnResult(*result);
    if (on_progress) on_progress(calibrator.spent_us(), calibrator.total_us());
  }
  executor.SetNotify(nullptr);
  return calibrator.status();
}

}  // namespace penstock
