// SPDX-License-Identifier: Apache-2.0
#include "plan/prompt_cutter.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kTargetError = 2e-4;  // to which targets are found
constexpr int64_t kMostChunks = 4096;  // where limits allow so few

// Limits that make sense together, for a prompt of `len`.
PlanLimits Checked(PlanLimits limits, int64_t len) {
  CHECK_GT(limits.align, 0);
  limits.max_chunk = std::max(limits.max_chunk - limits.max_chunk % limits.align, limits.align);
  limits.min_chunk = std::clamp(limits.min_chunk, 1, limits.max_chunk);
  // Not more chunks than can be planned in reasonable time.
  limits.min_chunk = static_cast<int32_t>(std::max<int64_t>(
      limits.min_chunk, std::min<int64_t>(limits.max_chunk, (len + kMostChunks - 1) / kMostChunks)));
  return limits;
}

}  // namespace

PromptCutter::PromptCutter(const SlowestStage& slowest, int64_t pos, int64_t len, const PlanLimits& limits)
    : slowest_(slowest), pos_(pos), end_(pos + len), limits_(Checked(limits, len)) {}

int64_t PromptCutter::Cut(double target_us, int64_t give_up, std::vector<int32_t>* chunks) const {
  target_us = Capped(target_us);
  if (chunks != nullptr) chunks->clear();
  int64_t count = 0;
  for (int64_t pos = pos_, next = 0; pos < end_; pos = next) {
    if (++count > give_up) return count;
    next = EndOfChunk(pos, target_us);
    if (chunks != nullptr) chunks->push_back(static_cast<int32_t>(next - pos));
  }
  return count;
}

void PromptCutter::CutWithRamps(double target_us, const Ramps& ramps, std::vector<int32_t>* chunks) const {
  target_us = Capped(target_us);
  // From the back as long as the ramp is below the target; then from the front what is left.
  std::vector<int32_t> back;
  int64_t end = end_;
  for (double time_us = ramps.back_us; time_us > 0 && time_us < target_us && end > pos_;
       time_us *= ramps.ratio) {
    const int64_t begin = BeginOfChunk(end, time_us);
    if (begin <= pos_) break;
    back.push_back(static_cast<int32_t>(end - begin));
    end = begin;
  }
  chunks->clear();
  double ramp_us = ramps.front_us > 0 ? ramps.front_us : target_us;
  for (int64_t pos = pos_; pos < end; ramp_us *= ramps.ratio) {
    const int64_t next = std::min(EndOfChunk(pos, std::min(ramp_us, target_us)), end);
    chunks->push_back(static_cast<int32_t>(next - pos));
    pos = next;
  }
  chunks->insert(chunks->end(), back.rbegin(), back.rend());
}

bool PromptCutter::CutNear(const std::vector<double>& ends, std::vector<int32_t>* chunks) const {
  chunks->clear();
  int64_t begin = pos_;
  for (size_t k = 0; k < ends.size() && begin < end_; ++k) {
    const bool last = k + 1 == ends.size();
    int64_t next = std::llround((static_cast<double>(pos_) + ends[k]) / limits_.align) * limits_.align;
    if (next <= begin) next = begin - begin % limits_.align + limits_.align;
    if (last || next > end_) next = end_;
    const int64_t len = next - begin;
    if (len > limits_.max_chunk || (len < limits_.min_chunk && next < end_)) return false;
    if (limits_.max_step_us > 0 &&
        slowest_.ChunkUs(static_cast<double>(begin), static_cast<double>(len)) > limits_.max_step_us) {
      return false;
    }
    chunks->push_back(static_cast<int32_t>(len));
    begin = next;
  }
  return begin == end_;
}

double PromptCutter::LeastTarget(int64_t count, double too_little_us, double enough_us) const {
  while (enough_us - too_little_us > kTargetError * enough_us) {
    const double middle = (too_little_us + enough_us) / 2;
    (Cut(middle, count, nullptr) <= count ? enough_us : too_little_us) = middle;
  }
  return enough_us;
}

double PromptCutter::MostUs() const {
  const double len = std::min<double>(static_cast<double>(end_ - pos_), limits_.max_chunk);
  return slowest_.ChunkUs(static_cast<double>(end_), len) * 1.001;
}

double PromptCutter::LeastUs() const {
  const double len = std::min<double>(static_cast<double>(end_ - pos_), limits_.align);
  return slowest_.ChunkUs(static_cast<double>(pos_), len) * 0.999;
}

double PromptCutter::Capped(double target_us) const {
  return limits_.max_step_us > 0 ? std::min(target_us, limits_.max_step_us) : target_us;
}

int64_t PromptCutter::EndOfChunk(int64_t pos, double target_us) const {
  const auto longest = static_cast<int64_t>(
      slowest_.LongestChunk(static_cast<double>(pos), target_us, limits_.max_chunk) * (1 + 1e-9));
  if (pos + longest >= end_) return end_;
  const int64_t align = limits_.align;
  const auto floor_to = [align](int64_t value) { return value - value % align; };
  int64_t next = floor_to(pos + longest);
  if (next - pos < limits_.min_chunk) next = floor_to(pos + limits_.min_chunk + align - 1);
  if (next - pos > limits_.max_chunk) next = floor_to(pos + limits_.max_chunk);
  if (next <= pos) next = floor_to(pos) + align;
  return std::min(next, end_);
}

int64_t PromptCutter::BeginOfChunk(int64_t end, double target_us) const {
  // A chunk of a prompt costs a little more the later it begins, so this converges from a chunk that is too
  // short.
  double len = limits_.align;
  for (int i = 0; i < 3; ++i) {
    len = slowest_.LongestChunk(std::max(0.0, static_cast<double>(end) - len), target_us, limits_.max_chunk);
  }
  const int64_t align = limits_.align;
  int64_t begin = end - std::clamp<int64_t>(static_cast<int64_t>(len), limits_.min_chunk, limits_.max_chunk);
  begin += (align - begin % align) % align;  // up: the chunk no longer than it may be
  if (end - begin < limits_.min_chunk && end - begin + align <= limits_.max_chunk) begin -= align;
  return begin < end ? begin : begin - align;
}

}  // namespace penstock
