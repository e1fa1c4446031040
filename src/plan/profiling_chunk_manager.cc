// SPDX-License-Identifier: Apache-2.0
#include "plan/profiling_chunk_manager.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr int kNumProfileLengths = 64;
constexpr int32_t kNumTargets = 3;

}  // namespace

ProfilingChunkManager::ProfilingChunkManager(int32_t base_chunk, int32_t page,
                                             const PredictorOptions& options)
    : base_chunk_(base_chunk), page_(page), predictor_(options) {}

std::vector<int32_t> ProfilingChunkManager::ProfileLengths(int32_t base_chunk) {
  const double base = base_chunk;
  std::vector<int32_t> lens;
  for (int i = 0; i < kNumProfileLengths; ++i) {
    const auto len = static_cast<int32_t>(base - i * (base / kNumProfileLengths));
    if (len <= 0) break;
    lens.push_back(len);
  }
  return lens;
}

bool ProfilingChunkManager::FinishProfiling(std::span<const double> lens, std::span<const double> times_ms) {
  if (!predictor_.Fit(lens, times_ms)) return false;
  predictor_.SetTargetLatency(base_chunk_);
  predictor_.set_ready();
  return true;
}

std::optional<int32_t> ProfilingChunkManager::PredictChunkSize(int64_t pos, double target_ms) const {
  return history_ready() ? predictor_.PredictWithHistory(pos, base_chunk_, page_, target_ms)
                         : predictor_.Predict(pos, base_chunk_, page_, target_ms);
}

double ProfilingChunkManager::PredictTime(int64_t len, int64_t pos) const {
  if (!is_ready()) return 0;
  return history_ready() ? predictor_.GetTimeWithHistory(len, pos) : predictor_.GetTime(len, pos);
}

bool ProfilingChunkManager::RecordBatch(std::span<const ChunkShape> chunks, double elapsed_ms) {
  StepSample sample{.time_ms = elapsed_ms};
  for (const ChunkShape& chunk : chunks) {
    const double len = chunk.len, end = len + chunk.pos;
    sample.features[0] += end * len;
    sample.features[1] += end;
    sample.features[2] += 1;
  }
  samples_.push_back(sample);
  if (!predictor_.FitChunk(samples_)) return false;
  predictor_.set_history_ready();
  return true;
}

void ProfilingChunkManager::OnBatch(std::span<const ChunkShape> chunks, double elapsed_ms) {
  if (!is_ready() || calibration_done_) return;
  if (num_targets_ >= kNumTargets && predictor_.history_fitted()) {
    calibration_done_ = true;
    return;
  }
  if (!std::isfinite(elapsed_ms) || elapsed_ms <= 0 || chunks.empty()) return;
  const bool has_history =
      std::any_of(chunks.begin(), chunks.end(), [](const ChunkShape& chunk) { return chunk.pos > 0; });
  if (!has_history && num_targets_ < kNumTargets) {
    predictor_.SetTargetLatency(0, elapsed_ms);
    ++num_targets_;
  }
  if (!predictor_.history_fitted()) RecordBatch(chunks, elapsed_ms);
}

}  // namespace penstock
