// SPDX-License-Identifier: Apache-2.0
#include "apps/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace penstock {
namespace {

constexpr uint64_t kMiB = 1 << 20;

template <typename Run>
std::string TextOf(ProgressUnit unit, bool is_terminal, Run run) {
  std::FILE* out = std::tmpfile();
  {
    Progress progress("Loading", unit, out, is_terminal);
    run(progress);
  }
  std::string text(static_cast<size_t>(std::ftell(out)), '\0');
  std::rewind(out);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), out), text.size());
  std::fclose(out);
  return text;
}

std::string ProgressText(bool is_terminal) {
  return TextOf(ProgressUnit::kBytes, is_terminal, [](Progress& progress) {
    progress.Update(0, 4 * kMiB);
    progress.Update(1 * kMiB, 4 * kMiB);
    progress.Update(3 * kMiB, 4 * kMiB);
    progress.Update(3 * kMiB, 8 * kMiB);  // a part that was not known before: the bar never goes back
    progress.Update(8 * kMiB, 8 * kMiB);
  });
}

TEST(Progress, TimeLeft) {
  const auto run = [](Progress& progress) {
    progress.Update(0, 12'000'000);
    progress.Update(5'000'000, 10'000'000);
    progress.Update(9'900'000, 9'900'000);
  };
  EXPECT_EQ(TextOf(ProgressUnit::kTimeLeft, false, run),
            "Loading    0%  12 s left\nLoading   50%  5 s left\nLoading  100%  0 s left\n");
}

TEST(Progress, Layers) {
  EXPECT_EQ(TextOf(ProgressUnit::kLayers, false, [](Progress& progress) { progress.Update(2, 4); }),
            "Loading   50%  2/4 layers\n");
}

TEST(Progress, PlainLinesWithoutATerminal) {
  EXPECT_EQ(
      ProgressText(false),
      "Loading    0%  0/4 MiB\nLoading   25%  1/4 MiB\nLoading   75%  3/4 MiB\nLoading  100%  8/8 MiB\n");
}

TEST(Progress, ABarOnATerminal) {
  const std::string text = ProgressText(true);
  EXPECT_NE(text.find("\rLoading  [######################--------]   75%  3/4 MiB"), std::string::npos)
      << text;
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace penstock
