// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_report.h"

#include <fmt/format.h>

#include "base/percentile.h"

namespace penstock {

double LayoutBenchRow::ttft_s() const { return Percentile(ttfts_s, 50); }

double LayoutBenchRow::tokens_per_s_per_rank() const {
  return static_cast<double>(ttfts_s.size()) * input_len / seconds / num_ranks;
}

std::string LayoutText(const LayoutBenchReport& report) {
  std::string text =
      fmt::format("{} client{} at once, {:.0f} % of each prompt from the prefix cache\n", report.concurrency,
                  report.concurrency == 1 ? "" : "s", 100 * report.prefix_hit);
  text += fmt::format("{:<14} {:>6} {:>9} {:>9} {:>13} {:>15}\n", "layout", "ranks", "tokens", "requests",
                      "median TTFT", "tokens/s/rank");
  for (const LayoutBenchRow& row : report.rows) {
    text += fmt::format("{:<14} {:>6} {:>9} {:>9} {:>11.3f} s {:>15.1f}\n", row.layout, row.num_ranks,
                        row.input_len, row.ttfts_s.size(), row.ttft_s(), row.tokens_per_s_per_rank());
  }
  return text;
}

Json LayoutJson(const LayoutBenchReport& report) {
  Json json = {{"model", report.model},
               {"concurrency", report.concurrency},
               {"prefix_hit", report.prefix_hit},
               {"layouts", Json::array()}};
  for (const LayoutBenchRow& row : report.rows) {
    json["layouts"].push_back({{"layout", row.layout},
                               {"ranks", row.num_ranks},
                               {"input_len", row.input_len},
                               {"ttft_s", row.ttft_s()},
                               {"input_tokens_per_s_per_rank", row.tokens_per_s_per_rank()},
                               {"ttfts_s", row.ttfts_s},
                               {"seconds", row.seconds}});
  }
  return json;
}

}  // namespace penstock
