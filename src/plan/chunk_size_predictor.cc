// SPDX-License-Identifier: Apache-2.0
#include "plan/chunk_size_predictor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace penstock {
namespace {

constexpr size_t kFewestPoints = 8;
constexpr size_t kFewestSamples = 5;
constexpr int32_t kSmallestAlign = 64;
constexpr double kReleaseFloor = 1e-9;  // what the release puts in the place of a negative coefficient

double Evaluate(const TimeCurve& f, double len) { return f.a * len * len + f.b * len + f.c; }

// The positive root of a x² + b x + c = 0, in the form that the source uses. Where a is 0 the source, whose a
// hardly ever is, gives nothing; here it is the line's root, which is what its tiny a comes to.
std::optional<double> PositiveRoot(double a, double b, double c) {
  double root = 0;
  if (a == 0) {
    if (b <= 0) return std::nullopt;
    root = -c / b;
  } else {
    const double discriminant = b * b - 4 * a * c;
    if (!(discriminant >= 0)) return std::nullopt;
    root = (-b + std::sqrt(discriminant)) / (2 * a);
  }
  if (!(root > 0)) return std::nullopt;
  return root;
}

int32_t RoundUp(int64_t len, int32_t page) {
  const int64_t align = std::max(page, kSmallestAlign);
  const int64_t rounded = (len + align - 1) / align * align;
  return static_cast<int32_t>(std::min<int64_t>(rounded, std::numeric_limits<int32_t>::max()));
}

}  // namespace

std::optional<TimeCurve> ChunkSizePredictor::FitCurve(std::span<const Triple> rows,
                                                      std::span<const double> times) const {
  const std::optional<Triple> fitted = LeastSquaresWithoutRounding(rows, times);
  if (!fitted) return std::nullopt;
  TimeCurve curve = {.a = (*fitted)[0], .b = (*fitted)[1], .c = (*fitted)[2]};
  if (options_.release_behaviour) {
    if (curve.a <= 0) curve.a = kReleaseFloor;
    if (curve.b < 0) curve.b = kReleaseFloor;
  }
  return curve;
}

bool ChunkSizePredictor::Fit(std::span<const double> lens, std::span<const double> times_ms) {
  if (lens.size() < kFewestPoints) return false;
  std::vector<Triple> rows;
  for (double len : lens) rows.push_back({len * len, len, 1});
  const std::optional<TimeCurve> curve = FitCurve(rows, times_ms);
  if (!curve) return false;
  basic_ = *curve;
  return true;
}

bool ChunkSizePredictor::FitChunk(std::span<const StepSample> samples) {
  if (samples.size() < kFewestSamples) return false;
  const int32_t most = options_.release_behaviour ? 30 : options_.max_fit_chunk;
  if (samples.size() > static_cast<size_t>(most)) {
    history_fitted_ = true;
    return false;
  }
  std::vector<Triple> rows;
  std::vector<double> times;
  for (const StepSample& sample : samples) {
    rows.push_back(sample.features);
    times.push_back(sample.time_ms);
  }
  const std::optional<TimeCurve> curve = FitCurve(rows, times);
  if (!curve) return false;
  with_history_ = *curve;
  return true;
}

void ChunkSizePredictor::SetTargetLatency(int32_t base_chunk, double elapsed_ms) {
  double target = elapsed_ms > 0 ? elapsed_ms : Evaluate(basic_, base_chunk) - Evaluate(basic_, 0);
  if (!(target > 0)) target = 1;
  target_ms_ = target;
}

double ChunkSizePredictor::Target(double asked_ms) const {
  return asked_ms > 0 && !options_.release_behaviour ? asked_ms : *target_ms_;
}

int32_t ChunkSizePredictor::ToChunk(double exact, int32_t base_chunk, int32_t page) const {
  const double smoothed = base_chunk + options_.smooth_factor * (exact - base_chunk);
  const double bounded = std::clamp(smoothed, -1e9, 1e9);
  return RoundUp(std::max<int64_t>(static_cast<int64_t>(bounded), options_.min_chunk), page);
}

int32_t ChunkSizePredictor::SmallestChunk(int32_t page) const { return RoundUp(options_.min_chunk, page); }

std::optional<int32_t> ChunkSizePredictor::Predict(int64_t pos, int32_t base_chunk, int32_t page,
                                                   double target_ms) const {
  if (!is_ready_ || !target_ms_) return std::nullopt;
  const auto history = static_cast<double>(pos);
  const std::optional<double> exact =
      PositiveRoot(basic_.a, 2 * basic_.a * history + basic_.b, -Target(target_ms));
  if (!exact) return std::nullopt;
  return ToChunk(*exact, base_chunk, page);
}

std::optional<int32_t> ChunkSizePredictor::PredictWithHistory(int64_t pos, int32_t base_chunk, int32_t page,
                                                              double target_ms) const {
  if (!is_ready_ || !target_ms_ || !history_ready_) return std::nullopt;
  const auto history = static_cast<double>(pos);
  const TimeCurve& f = with_history_;
  const std::optional<double> exact =
      PositiveRoot(f.a, f.a * history + f.b, f.b * history + f.c - Target(target_ms));
  if (!exact) return std::nullopt;
  return ToChunk(*exact, base_chunk, page);
}

double ChunkSizePredictor::GetTime(int64_t len, int64_t pos) const {
  return Evaluate(basic_, static_cast<double>(len + pos)) - Evaluate(basic_, static_cast<double>(pos));
}

double ChunkSizePredictor::GetTimeWithHistory(int64_t len, int64_t pos) const {
  const auto chunk = static_cast<double>(len), end = static_cast<double>(len + pos);
  return with_history_.a * chunk * end + with_history_.b * end + with_history_.c;
}

bool ChunkSizePredictor::IsBeyondTarget(int64_t pos) const {
  return history_ready_ && target_ms_ &&
         with_history_.b * static_cast<double>(pos) + with_history_.c >= *target_ms_;
}

}  // namespace penstock
