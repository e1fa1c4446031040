// SPDX-License-Identifier: Apache-2.0
#include "apps/policy_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"
#include "base/percentile.h"
#include "plan/prompt_plan.h"

namespace penstock {
namespace {

double TtftOf(const LatencySample& sample) { return sample.first_token_s.front(); }

// The sample in the middle: of an even number, the faster of the two.
const LatencySample& MedianSample(const std::vector<LatencySample>& samples) {
  CHECK(!samples.empty());
  std::vector<const LatencySample*> sorted;
  for (const LatencySample& sample : samples) sorted.push_back(&sample);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const LatencySample* a, const LatencySample* b) { return TtftOf(*a) < TtftOf(*b); });
  return *sorted[(sorted.size() - 1) / 2];
}

PolicyRow RowOf(const PolicyReport& report, const PolicyMeasurement& measured) {
  const LatencySample& median = MedianSample(measured.samples);
  PolicyRow row;
  row.policy = measured.policy;
  for (const LatencySample& sample : measured.samples) row.ttfts_s.push_back(TtftOf(sample));
  row.ttft_s = Percentile(row.ttfts_s, 50);
  row.chunks = median.chunks;
  for (double busy_s : median.stage_busy_s) row.stage_busy_share.push_back(busy_s / TtftOf(median));
  if (report.cost.known()) {
    row.ideal_ttft_s = IdealUs(report.cost, 0, report.input_len) * 1e-6;
    row.efficiency = PipelineEfficiency(report.cost, 0, report.input_len, row.ttft_s * 1e6);
  }
  if (measured.cost.known() && !row.chunks.empty()) {
    row.predicted_ttft_s = Makespan(measured.cost, 0, row.chunks) * 1e-6;
  }
  return row;
}

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::string OrDash(const std::optional<double>& value, double scale, std::string_view unit) {
  return value ? fmt::format("{:.3f}{}", *value * scale, unit) : "-";
}

}  // namespace

std::vector<PolicyRow> PolicyRows(const PolicyReport& report) {
  std::vector<PolicyRow> rows;
  for (const PolicyMeasurement& measured : report.policies) rows.push_back(RowOf(report, measured));
  return rows;
}

std::string PolicyText(const PolicyReport& report) {
  std::string text = fmt::format("{} prompt tokens, time to first token, median of {}\n", report.input_len,
                                 report.policies.front().samples.size());
  text += fmt::format("{:<14} {:>10} {:>10} {:>10}  {:<14} {}\n", "policy", "measured", "predicted",
                      "efficiency", "busy share", "chunks");
  for (const PolicyRow& row : PolicyRows(report)) {
    std::string shares;
    for (double share : row.stage_busy_share) {
      shares += fmt::format("{}{:.1f}%", shares.empty() ? "" : " ", 100 * share);
    }
    text += fmt::format("{:<14} {:>8.3f} s {:>10} {:>10}  {:<14} {}\n", row.policy, row.ttft_s,
                        OrDash(row.predicted_ttft_s, 1, " s"),
                        row.efficiency ? fmt::format("{:.1f}%", 100 * *row.efficiency) : "-", shares,
                        fmt::join(row.chunks, " "));
  }
  return text;
}

Json PolicyJson(const PolicyReport& report) {
  Json json = Json::array();
  for (const PolicyRow& row : PolicyRows(report)) {
    json.push_back({{"policy", row.policy},
                    {"ttft_s", row.ttft_s},
                    {"efficiency", OrNull(row.efficiency)},
                    {"chunks", row.chunks},
                    {"predicted_ttft_s", OrNull(row.predicted_ttft_s)},
                    {"ideal_ttft_s", OrNull(row.ideal_ttft_s)},
                    {"stage_busy_share", row.stage_busy_share},
                    {"ttfts_s", row.ttfts_s}});
  }
  return json;
}

}  // namespace penstock
