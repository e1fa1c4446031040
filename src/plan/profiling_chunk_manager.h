// ProfilingChunkManager: the state around vLLM-Ascend's ChunkSizePredictor: the start-up profile, the target
// taken from what ran, and the samples of the model with history.
//
//   start-up     64 prompts without history -> basic model, target f(base) - f(0)        FinishProfiling()
//   calibration  the first 3 steps without history each replace the target by their time; OnBatch()
//                5 … max_fit_chunk steps refit the model with history, which is then used for everything
//   then         nothing changes any more; calibration_done()
//
// Milliseconds. Single-threaded, no clock.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plan/chunk_size_predictor.h"
#include "plan/step_work.h"

namespace penstock {

class ProfilingChunkManager {
 public:
  ProfilingChunkManager(int32_t base_chunk, int32_t page, const PredictorOptions& options = {});

  // The lengths to be profiled, longest first: base, base - base / 64, … The source runs one of base + base /
  // 64 before them, to warm up.
  static std::vector<int32_t> ProfileLengths(int32_t base_chunk);
  // Their times. False: fewer than 8, or not finite; the manager stays as it was, and not ready.
  bool FinishProfiling(std::span<const double> lens, std::span<const double> times_ms);

  // The chunk after `pos` tokens that takes `target_ms` (<= 0: the target), by the better of the models that
  // there are. Nothing: see ChunkSizePredictor.
  std::optional<int32_t> PredictChunkSize(int64_t pos, double target_ms) const;
  double PredictTime(int64_t len, int64_t pos) const;  // 0 where not ready

  // One more sample; true where the model with history has been refitted.
  bool RecordBatch(std::span<const ChunkShape> chunks, double elapsed_ms);
  // What becomes of a step that has been timed: target, sample, and the end of calibration. Ignored before
  // start-up has been profiled, after calibration, and where the time is not finite and > 0.
  void OnBatch(std::span<const ChunkShape> chunks, double elapsed_ms);

  bool is_ready() const { return predictor_.is_ready(); }
  bool history_ready() const { return is_ready() && predictor_.history_ready(); }
  bool calibration_done() const { return calibration_done_; }
  int32_t num_samples() const { return static_cast<int32_t>(samples_.size()); }
  int32_t base_chunk() const { return base_chunk_; }
  int32_t page() const { return page_; }
  ChunkSizePredictor& predictor() { return predictor_; }
  const ChunkSizePredictor& predictor() const { return predictor_; }

 private:
  const int32_t base_chunk_;
  const int32_t page_;
  ChunkSizePredictor predictor_;
  std::vector<StepSample> samples_;
  int32_t num_targets_ = 0;  // steps without history so far
  bool calibration_done_ = false;
};

}  // namespace penstock
