// SPDX-License-Identifier: Apache-2.0
#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

namespace penstock {
namespace {

constexpr int kBarWidth = 30;
constexpr int kPlainStepPercent = 25;
constexpr double kMiB = 1 << 20;

}  // namespace

Progress::Progress(std::string title, std::vector<uint64_t> part_totals, std::FILE* out, bool is_terminal)
    : title_(std::move(title)),
      is_terminal_(is_terminal),
      out_(out),
      total_(std::accumulate(part_totals.begin(), part_totals.end(), uint64_t{0})),
      done_(part_totals.size()) {}

Progress::Progress(std::string title, std::vector<uint64_t> part_totals)
    : Progress(std::move(title), std::move(part_totals), stderr, isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  std::lock_guard lock(mutex_);
  if (is_terminal_ && shown_percent_ >= 0) std::fputc('\n', out_);
}

void Progress::Update(size_t part, uint64_t done_bytes) {
  std::lock_guard lock(mutex_);
  done_[part] = std::max(done_[part], done_bytes);
  Draw();
}

void Progress::Draw() {
  const uint64_t done = std::min(total_, std::accumulate(done_.begin(), done_.end(), uint64_t{0}));
  int percent =
      total_ == 0 ? 100 : static_cast<int>(static_cast<double>(done) / static_cast<double>(total_) * 100);
  if (!is_terminal_) percent -= percent % kPlainStepPercent;
  if (percent <= shown_percent_) return;
  shown_percent_ = percent;
  const std::string counts = fmt::format("{:3}%  {:.0f}/{:.0f} MiB", percent, done / kMiB, total_ / kMiB);
  if (!is_terminal_) {
    fmt::print(out_, "{}  {}\n", title_, counts);
  } else {
    const int filled = percent * kBarWidth / 100;
    fmt::print(out_, "\r{}  [{}{}]  {}", title_, std::string(filled, '#'),
               std::string(kBarWidth - filled, '-'), counts);
  }
  std::fflush(out_);
}

}  // namespace penstock
