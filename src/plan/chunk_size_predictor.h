// ChunkSizePredictor: vLLM-Ascend's two models of a chunk's time, and the chunk that takes a given time.
//
// With l, C the chunk's tokens and L, H those computed before it, in milliseconds:
//
//   basic, fitted to prompts without history:  f(l) = a l² + b l + c;   a chunk takes f(L + C) - f(L)
//   with history, fitted to what ran:          a C (C + H) + b (C + H) + c;  a step takes the sum of it
//
// A chunk is the root of (its time) = (the target), drawn towards the base chunk by `smooth_factor`, not
// below `min_chunk`, and rounded UP to a multiple of max(page, 64). The arithmetic, its order too, is that of
// vllm_ascend/core/profiling_chunk_predictor.py (August 2026), so that chunks agree to the token; with
// `release_behaviour`, that of v0.20.2rc1: negative a and b become 1e-9, and a target that is asked for is
// ignored.
//
// One difference: a and b that are mere rounding are taken as 0 (least_squares.h). In the source their random
// sign decides between a chunk, a large one and none.
//
// Single-threaded, no clock.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "plan/least_squares.h"

namespace penstock {

struct PredictorOptions {
  double smooth_factor = 0.8;  // (0, 1]
  int32_t min_chunk = 4096;    // >= 1
  int32_t max_fit_chunk = 30;  // > 5; the release has 30
  bool release_behaviour = false;
};

struct TimeCurve {
  double a = 0;
  double b = 0;
  double c = 0;
};

// A step: Σ (C + H) C, Σ (C + H) and the number of its chunks.
struct StepSample {
  Triple features = {};
  double time_ms = 0;
};

class ChunkSizePredictor {
 public:
  explicit ChunkSizePredictor(const PredictorOptions& options = {}) : options_(options) {}

  // The basic model. False, and nothing is changed, with fewer than 8 points or one that is not finite.
  // REQUIRES: as many lengths as times.
  bool Fit(std::span<const double> lens, std::span<const double> times_ms);
  // The model with history, from all samples so far. False where it stays as it was: below 5 samples, above
  // max_fit_chunk (from then on history_fitted()), or one that is not finite.
  bool FitChunk(std::span<const StepSample> samples);

  // What a chunk should take: `elapsed_ms` where that is > 0, otherwise f(base) - f(0), and 1 ms where that
  // is not > 0.
  void SetTargetLatency(int32_t base_chunk, double elapsed_ms = 0);
  void set_ready() { is_ready_ = true; }
  void set_history_ready() { history_ready_ = true; }

  // Nothing where the model is not ready, there is no target, or no chunk takes that time.
  // `target_ms` > 0 stands in for the target.
  std::optional<int32_t> Predict(int64_t pos, int32_t base_chunk, int32_t page, double target_ms = 0) const;
  std::optional<int32_t> PredictWithHistory(int64_t pos, int32_t base_chunk, int32_t page,
                                            double target_ms = 0) const;
  // Milliseconds; 0 of a model that was not fitted.
  double GetTime(int64_t len, int64_t pos) const;
  double GetTimeWithHistory(int64_t len, int64_t pos) const;

  // The history alone takes the whole target: no chunk, however small, can keep to it.
  bool IsBeyondTarget(int64_t pos) const;
  // The smallest chunk: min_chunk, rounded up.
  int32_t SmallestChunk(int32_t page) const;

  bool is_ready() const { return is_ready_; }
  bool history_ready() const { return history_ready_; }
  bool history_fitted() const { return history_fitted_; }
  std::optional<double> target_ms() const { return target_ms_; }
  const TimeCurve& basic() const { return basic_; }
  const TimeCurve& with_history() const { return with_history_; }
  const PredictorOptions& options() const { return options_; }

 private:
  std::optional<TimeCurve> FitCurve(std::span<const Triple> rows, std::span<const double> times) const;
  double Target(double asked_ms) const;
  int32_t ToChunk(double exact, int32_t base_chunk, int32_t page) const;

  PredictorOptions options_;
  TimeCurve basic_;
  TimeCurve with_history_;
  std::optional<double> target_ms_;
  bool is_ready_ = false;
  bool history_ready_ = false;
  bool history_fitted_ = false;
};

}  // namespace penstock
