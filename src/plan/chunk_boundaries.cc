// SPDX-License-Identifier: Apache-2.0
#include "plan/chunk_boundaries.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

int64_t RoundTo(double value, int64_t align) {
  return std::llround(value / static_cast<double>(align)) * align;
}
int64_t FloorTo(int64_t value, int64_t align) { return value - value % align; }

// Where a chunk that begins at `begin` and would end at `wanted` ends; `last` is the end of the prompt.
int64_t RoundEnd(int64_t begin, double wanted, int64_t last, const PlanLimits& limits) {
  const int64_t align = limits.align;
  int64_t end = RoundTo(wanted, align);
  if (end - begin < limits.min_chunk) end = FloorTo(begin + limits.min_chunk + align - 1, align);
  if (end - begin > limits.max_chunk) end = FloorTo(begin + limits.max_chunk, align);
  if (end <= begin) end = FloorTo(begin, align) + align;
  return end >= last ? last : end;
}

}  // namespace

int32_t RoundFirstChunk(int64_t pos, int64_t len, double first, const PlanLimits& limits) {
  if (first >= static_cast<double>(len) - 0.5 && len <= limits.max_chunk) return static_cast<int32_t>(len);
  return static_cast<int32_t>(RoundEnd(pos, static_cast<double>(pos) + first, pos + len, limits) - pos);
}

ChunkBoundaries::ChunkBoundaries(const CostModel& cost, int64_t pos, int64_t len, const PlanLimits& limits,
                                 const std::vector<double>& lengths)
    : cost_(cost), limits_(limits) {
  const int64_t last = pos + len;
  ends_.push_back(pos);
  double wanted = static_cast<double>(pos);
  for (size_t i = 0; i < lengths.size() && ends_.back() < last; ++i) {
    wanted += lengths[i];
    const bool all = i + 1 == lengths.size() && last - ends_.back() <= limits.max_chunk;
    ends_.push_back(all ? last : RoundEnd(ends_.back(), wanted, last, limits));
  }
  while (ends_.back() < last) {
    ends_.push_back(
        RoundEnd(ends_.back(), static_cast<double>(ends_.back()) + limits.max_chunk, last, limits));
  }
  makespan_us_ = Makespan(cost_, pos, Lengths());
}

std::vector<int32_t> ChunkBoundaries::Lengths() const {
  std::vector<int32_t> lengths;
  for (size_t i = 1; i < ends_.size(); ++i) lengths.push_back(static_cast<int32_t>(ends_[i] - ends_[i - 1]));
  return lengths;
}

bool ChunkBoundaries::MayEnd(size_t idx, int64_t end) const {
  const int64_t before = end - ends_[idx - 1], after = ends_[idx + 1] - end;
  const bool next_is_last = idx + 2 == ends_.size();
  return end % limits_.align == 0 && before >= std::max(limits_.min_chunk, 1) &&
         before <= limits_.max_chunk && after >= (next_is_last ? 1 : limits_.min_chunk) &&
         after <= limits_.max_chunk;
}

void ChunkBoundaries::ComputeTimes(size_t chunk, std::vector<double>* times) const {
  const auto pos = static_cast<double>(ends_[chunk]);
  const auto len = static_cast<double>(ends_[chunk + 1] - ends_[chunk]);
  for (size_t s = 0; s < cost_.stages.size(); ++s) (*times)[s] = cost_.stages[s].PredictChunk(pos, len);
}

void ChunkBoundaries::ComputeAfter() {
  const size_t num_stages = cost_.stages.size(), num_chunks = ends_.size() - 1;
  after_us_.assign((num_chunks + 1) * num_stages, 0);
  std::vector<double> times(num_stages);
  for (size_t k = num_chunks; k-- > 0;) {
    ComputeTimes(k, &times);
    double below = 0;  // of the next stage, same chunk
    for (size_t s = num_stages; s-- > 0;) {
      below = after_us_[k * num_stages + s] = times[s] + std::max(below, after_us_[(k + 1) * num_stages + s]);
    }
  }
}

bool ChunkBoundaries::Sweep(int64_t step) {
  const size_t num_stages = cost_.stages.size(), num_chunks = ends_.size() - 1;
  ComputeAfter();
  std::vector<double> done(num_stages);  // when each stage has ended all chunks before the one at hand
  std::vector<double> times(num_stages), end(num_stages);
  const auto pass = [&](size_t chunk) {
    ComputeTimes(chunk, &times);
    double before = 0;
    for (size_t s = 0; s < num_stages; ++s) before = end[s] = std::max(before, end[s]) + times[s];
  };
  bool any = false;
  for (size_t idx = 1; idx < num_chunks; ++idx) {
    for (const int64_t move : {step, -step}) {
      const int64_t old_end = ends_[idx];
      if (!MayEnd(idx, old_end + move)) continue;
      ends_[idx] = old_end + move;
      end = done;
      pass(idx - 1);
      pass(idx);
      double makespan = 0;
      for (size_t s = 0; s < num_stages; ++s) {
        makespan = std::max(makespan, end[s] + after_us_[(idx + 1) * num_stages + s]);
      }
      if (makespan < makespan_us_ * (1 - 1e-9)) {
        makespan_us_ = makespan;
        any = true;
        break;
      }
      ends_[idx] = old_end;
    }
    end = done;
    pass(idx - 1);
    done = end;
  }
  return any;
}

void ChunkBoundaries::Improve() {
  const auto num_chunks = static_cast<int64_t>(ends_.size()) - 1;
  if (num_chunks < 2) return;
  // Each sweep costs about num_chunks * num_stages * 6 predictions of some 20 ns.
  const int64_t per_sweep = num_chunks * static_cast<int64_t>(cost_.stages.size()) * 6;
  int64_t budget = 60'000;
  const int64_t mean = (ends_.back() - ends_.front()) / num_chunks;
  int64_t step = std::max<int64_t>(FloorTo(mean / 4, limits_.align), limits_.align);
  while (budget > 0) {
    budget -= per_sweep;
    if (Sweep(step)) continue;
    if (step == limits_.align) break;
    step = std::max<int64_t>(FloorTo(step / 2, limits_.align), limits_.align);
  }
}

}  // namespace penstock
