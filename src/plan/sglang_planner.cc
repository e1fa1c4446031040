// SPDX-License-Identifier: Apache-2.0
#include "plan/sglang_planner.h"

#include <algorithm>
#include <cmath>

#include "plan/least_squares.h"

namespace penstock {
namespace {

constexpr double kDefaultSmoothFactor = 0.75;
constexpr int kNumProfileLengths = 128;
constexpr double kLongestProfile = 1.25;  // of the base
constexpr size_t kFewestPoints = 8;
constexpr int32_t kSmallestAlign = 64;
constexpr int32_t kContextMargin = 100;

int64_t RoundDown(int64_t len, int64_t align) { return len / align * align; }

}  // namespace

SglangPlanner::SglangPlanner(const PlannerOptions& options)
    : base_chunk_(options.max_tokens),
      page_(options.block_size),
      max_model_len_(options.max_model_len),
      smooth_factor_(options.smooth_factor.value_or(kDefaultSmoothFactor)),
      min_chunk_(options.min_chunk.value_or(1)),
      budget_tokens_(options.max_tokens) {}

std::vector<int32_t> SglangPlanner::ProfileLengths(int32_t base_chunk) {
  const double longest = base_chunk * kLongestProfile;
  const double step = std::floor(longest / kNumProfileLengths);
  std::vector<int32_t> lens;
  for (int i = 0; i < kNumProfileLengths; ++i) {
    const auto len = static_cast<int32_t>(longest - i * step);
    if (len <= 0) break;
    lens.push_back(len);
  }
  return lens;
}

void SglangPlanner::SetCost(const CostModel& cost) {
  if (has_profiled_ || !cost.known()) return;
  has_profiled_ = true;
  std::vector<Triple> rows;
  std::vector<double> times_ms;
  const std::vector<int32_t> lens = ProfileLengths(base_chunk_);
  for (size_t i = 1; i < lens.size(); ++i) {
    const double len = lens[i];
    rows.push_back({len * len, len, 1});
    times_ms.push_back(cost.stages.front().PredictChunk(0, len) / 1000);
  }
  if (rows.size() < kFewestPoints) return;
  const std::optional<Triple> fitted = LeastSquaresWithoutRounding(rows, times_ms);
  if (!fitted || (*fitted)[0] <= 0) return;
  a_ = (*fitted)[0];
  b_ = std::max((*fitted)[1], 0.0);
  target_ms_ = a_ * base_chunk_ * base_chunk_ + b_ * base_chunk_;
  is_ready_ = target_ms_ > 0;
}

std::optional<int32_t> SglangPlanner::PredictChunkSize(int32_t pos) const {
  if (!is_ready_) return std::nullopt;
  const double linear = 2 * a_ * pos + b_;
  const double exact = (-linear + std::sqrt(linear * linear + 4 * a_ * target_ms_)) / (2 * a_);
  if (!(exact > 0)) return std::nullopt;
  const double smoothed = base_chunk_ + smooth_factor_ * (exact - base_chunk_);
  const auto wanted = static_cast<int64_t>(std::clamp(smoothed, -1e9, 1e9));
  const int64_t least = std::max(base_chunk_ / 4, min_chunk_);
  const int64_t align = std::max(page_, kSmallestAlign);
  int64_t chunk = std::max(RoundDown(std::max(wanted, least), align), align);
  const int64_t room = static_cast<int64_t>(max_model_len_) - pos - kContextMargin;
  chunk = RoundDown(std::min<int64_t>({chunk, room, base_chunk_}), align);
  if (chunk < align) return std::nullopt;
  return static_cast<int32_t>(chunk);
}

void SglangPlanner::BeginStep(const StepQuery& query) {
  budget_tokens_ = base_chunk_;
  const auto continued =
      std::find_if(query.prefills.begin(), query.prefills.end(),
                   [](const PrefillDemand& demand) { return demand.is_running && demand.pos > 0; });
  if (continued != query.prefills.end()) {
    budget_tokens_ = PredictChunkSize(continued->pos).value_or(base_chunk_);
  }
}

int32_t SglangPlanner::NextChunk(const ChunkQuery& query) {
  int64_t left = budget_tokens_;
  for (const ChunkShape& chunk : query.step_chunks) {
    if (!chunk.is_decode) left -= chunk.len;
  }
  if (left <= 0) return 0;
  if (left >= query.max_len) return query.max_len;
  // A prompt that fills up a step is cut at a page.
  const bool fills_up = left < budget_tokens_;
  return static_cast<int32_t>(fills_up ? RoundDown(left, page_) : left);
}

}  // namespace penstock
