// SPDX-License-Identifier: Apache-2.0
#include "engine/calibration_grid.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int32_t kSmallestChunk = 16;
constexpr double kHistoryShares[] = {0.25, 0.5, 1.0};
// A decode token reads its whole context for itself alone, a chunk's tokens share what they read. Measured is
// only what it costs with hardly any.
constexpr double kDecodePairFactor = 8;

std::vector<CalibrationShape> Candidates(const CalibrationSteps& steps, int32_t block_size) {
  const std::vector<int32_t> lengths = ChunkLadder(steps.max_chunk());
  std::set<std::pair<int32_t, int32_t>> prompts;  // history, length
  for (int32_t len : lengths) prompts.insert({0, len});
  for (size_t i = 0; i < lengths.size(); i += 2) {  // a fourfold step from one to the next
    for (double share : kHistoryShares) {
      const double history = share * steps.MaxHistory(lengths[i]);
      prompts.insert({static_cast<int32_t>(history) / block_size * block_size, lengths[i]});
    }
  }
  std::vector<CalibrationShape> shapes;
  for (const auto& [history, len] : prompts) shapes.push_back({.chunk = {.pos = history, .len = len}});

  std::set<std::pair<int32_t, int32_t>> decodes;  // context, number
  const int32_t context = steps.MaxHistory(1);
  if (steps.max_decodes() > 0 && context > 0) {
    for (int32_t num : {1, steps.max_decodes()}) {
      decodes.insert({block_size, num});
      // Together one long context: there are not more blocks that have been written, and blocks that several
      // read are in the caches.
      decodes.insert({context / num / block_size * block_size, num});
    }
    decodes.insert({context / 2 / block_size * block_size, 1});
  }
  for (const auto& [pos, num] : decodes) {
    if (pos > 0) shapes.push_back({.chunk = {.pos = pos, .len = 1, .is_decode = true}, .num = num});
  }
  return shapes;
}

}  // namespace

std::vector<int32_t> ChunkLadder(int32_t max_chunk) {
  std::vector<int32_t> lengths;
  for (int32_t len = kSmallestChunk; len < max_chunk; len *= 2) lengths.push_back(len);
  lengths.push_back(max_chunk);
  return lengths;
}

double GuessUs(const CostModel& rough, const CalibrationShape& shape) {
  if (!shape.chunk.is_decode) return rough.BottleneckUs(shape.Work());
  StepWork work;
  work.tokens = shape.num;
  work.seqs = shape.num;
  work.decode_tokens = shape.num;
  work.pairs = kDecodePairFactor * shape.num * shape.chunk.pos;
  return rough.BottleneckUs(work);
}

std::vector<CalibrationShape> DesignGrid(const CalibrationSteps& steps, int32_t block_size,
                                         const CostModel& rough, double budget_us) {
  CHECK_GT(steps.max_chunk(), 0);
  std::vector<CalibrationShape> shapes = Candidates(steps, block_size);
  std::stable_sort(shapes.begin(), shapes.end(), [&](const CalibrationShape& a, const CalibrationShape& b) {
    return GuessUs(rough, a) < GuessUs(rough, b);
  });
  double total_us = 0;
  size_t num_kept = 0;
  for (; num_kept < shapes.size(); ++num_kept) {
    total_us += kCalibrationRepeats * GuessUs(rough, shapes[num_kept]);
    if (total_us > budget_us && num_kept > 0) break;
  }
  shapes.resize(num_kept);
  return shapes;
}

}  // namespace penstock
