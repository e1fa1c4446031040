// SPDX-License-Identifier: Apache-2.0
#include "plan/chunk_boundaries.h"

#include <algorithm>

namespace penstock {
ChunkBoundaries::ChunkBoundaries(const CostModel& cost, int64_t pos, const PlanLimits& limits,
                                 std::span<const int32_t> chunks, double makespan_us)
    : cost_(cost), limits_(limits), makespan_us_(makespan_us) {
  ends_.push_back(pos);
  for (int32_t chunk : chunks) ends_.push_back(ends_.back() + chunk);
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

// Gives one alignment's worth of tokens from one chunk to another, whatever is between them.
bool ChunkBoundaries::Transfer() {
  const size_t num_chunks = ends_.size() - 1;
  bool any = false;
  for (size_t from = 0; from < num_chunks; ++from) {
    for (size_t to = 0; to < num_chunks; ++to) {
      if (from == to) continue;
      const int64_t move = from < to ? -limits_.align : limits_.align;
      const size_t first = std::min(from, to) + 1, last = std::max(from, to);
      const std::vector<int64_t> old_ends = ends_;
      for (size_t idx = first; idx <= last; ++idx) ends_[idx] += move;
      const bool allowed =
          ends_[from + 1] > ends_[from] && MayEnd(first, ends_[first]) && MayEnd(last, ends_[last]);
      const double makespan = allowed ? Makespan(cost_, ends_.front(), Lengths()) : makespan_us_;
      if (makespan < makespan_us_ * (1 - 1e-9)) {
        makespan_us_ = makespan;
        any = true;
      } else {
        ends_ = old_ends;
      }
    }
  }
  return any;
}

void ChunkBoundaries::Improve() {
  const auto num_chunks = static_cast<int64_t>(ends_.size()) - 1;
  if (num_chunks < 2) return;
  // Each sweep costs about num_chunks * num_stages * 6 predictions of some 20 ns.
  const int64_t per_round = num_chunks * static_cast<int64_t>(cost_.stages.size());
  int64_t budget = 40'000;
  const int64_t mean = (ends_.back() - ends_.front()) / num_chunks;
  int64_t step = std::max<int64_t>(mean / 4 - mean / 4 % limits_.align, limits_.align);
  while (budget > 0) {
    budget -= 6 * per_round;
    if (Sweep(step)) continue;
    if (step > limits_.align) {
      step = std::max<int64_t>(step / 2 - step / 2 % limits_.align, limits_.align);
      continue;
    }
    budget -= num_chunks * num_chunks * per_round;
    if (budget < 0 || !Transfer()) break;
  }
}

}  // namespace penstock
