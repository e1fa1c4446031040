// SPDX-License-Identifier: Apache-2.0
#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace penstock {
namespace {

constexpr int kBarWidth = 30;
constexpr int kPlainStepPercent = 25;
constexpr double kMiB = 1 << 20;
constexpr double kMicrosPerSecond = 1e6;

std::string Rest(ProgressUnit unit, double done, double total) {
  switch (unit) {
    case ProgressUnit::kBytes:
      return fmt::format("{:.0f}/{:.0f} MiB", done / kMiB, total / kMiB);
    case ProgressUnit::kTimeLeft:
      return fmt::format("{:.0f} s left", (total - done) / kMicrosPerSecond);
    case ProgressUnit::kLayers:
      return fmt::format("{:.0f}/{:.0f} layers", done, total);
  }
  return "";
}

}  // namespace

Progress::Progress(std::string title, ProgressUnit unit, std::FILE* out, bool is_terminal)
    : title_(std::move(title)), unit_(unit), out_(out), is_terminal_(is_terminal) {}

Progress::Progress(std::string title, ProgressUnit unit)
    : Progress(std::move(title), unit, stderr, isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (is_terminal_ && shown_percent_ >= 0) std::fputc('\n', out_);
}

void Progress::Update(uint64_t done_units, uint64_t total_units) {
  const double done = static_cast<double>(std::min(done_units, total_units));
  const double total = static_cast<double>(total_units);
  int percent = total_units == 0 ? 100 : static_cast<int>(done / total * 100);
  if (!is_terminal_) percent -= percent % kPlainStepPercent;
  if (percent <= shown_percent_) return;
  shown_percent_ = percent;
  const std::string counts = fmt::format("{:3}%  {}", percent, Rest(unit_, done, total));
  if (!is_terminal_) {
    fmt::print(out_, "{}  {}\n", title_, counts);
  } else {
    const int filled = percent * kBarWidth / 100;
    const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '-');
    fmt::print(out_, "\r{}  [{}]  {}  ", title_, bar,
               counts);  // spaces: what stood there may have been longer
  }
  std::fflush(out_);
}

}  // namespace penstock
