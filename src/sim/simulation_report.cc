// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/percentile.h"

namespace penstock {
namespace {

constexpr size_t kMostRuns = 12;  // of equal chunks, in one line

std::vector<double> FirstTokenTimes(const SimulationReport& report) {
  std::vector<double> times;
  for (const SimulatedRequest& request : report.requests) times.push_back(request.ttft_s);
  return times;
}

double MeanEndToEnd(const SimulationReport& report) {
  double sum = 0;
  for (const SimulatedRequest& request : report.requests) sum += request.e2e_s;
  return sum / static_cast<double>(report.requests.size());
}

struct Throughput {
  double requests_per_s = 0;
  double input_tokens_per_s = 0;  // cached ones count
  double output_tokens_per_s = 0;
};

Throughput ThroughputOf(const SimulationReport& report) {
  if (report.duration_s <= 0) return {};
  int64_t input = 0, output = 0;
  for (const SimulatedRequest& request : report.requests) {
    input += request.prompt_len;
    output += request.output_len;
  }
  return {.requests_per_s = static_cast<double>(report.requests.size()) / report.duration_s,
          .input_tokens_per_s = static_cast<double>(input) / report.duration_s,
          .output_tokens_per_s = static_cast<double>(output) / report.duration_s};
}

void AddWorkload(const SimulationReport& report, Json* json) {
  const std::vector<double> ttft = FirstTokenTimes(report);
  const Throughput rate = ThroughputOf(report);
  (*json)["num_requests"] = report.requests.size();
  (*json)["ttft_mean_s"] = Mean(ttft);
  (*json)["ttft_median_s"] = Percentile(ttft, 50);
  (*json)["ttft_p99_s"] = Percentile(ttft, 99);
  (*json)["e2e_mean_s"] = MeanEndToEnd(report);
  (*json)["requests_per_s"] = rate.requests_per_s;
  (*json)["input_tokens_per_s"] = rate.input_tokens_per_s;
  (*json)["output_tokens_per_s"] = rate.output_tokens_per_s;
}

Json RequestsJson(const SimulationReport& report) {
  Json requests = Json::array();
  for (const SimulatedRequest& request : report.requests) {
    requests.push_back({{"prompt_len", request.prompt_len},
                        {"cached_len", request.cached_len},
                        {"output_len", request.output_len},
                        {"arrival_s", request.arrival_s},
                        {"ttft_s", request.ttft_s},
                        {"e2e_s", request.e2e_s},
                        {"chunks", request.chunks}});
  }
  return requests;
}

std::string Shares(const std::vector<double>& shares) {
  constexpr size_t kMostShares = 8;
  if (shares.size() > kMostShares) {
    const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
    return fmt::format("{:.0f} … {:.0f}%", 100 * *least, 100 * *most);
  }
  std::string text;
  for (double share : shares) text += fmt::format("{}{:.0f}", text.empty() ? "" : " ", 100 * share);
  return text + "%";
}

std::string OnePromptText(std::span<const SimulationReport> reports, double ideal_s) {
  std::string text = fmt::format("{:<14}{:>10}{:>12}  {}\n", "policy", "TTFT s", "efficiency", "chunks");
  for (const SimulationReport& report : reports) {
    const SimulatedRequest& request = report.requests[0];
    text += fmt::format("{:<14}{:>10.3f}{:>11.1f}%  {}: {}\n", report.policy, request.ttft_s,
                        100 * report.efficiency, request.chunks.size(), FormatChunks(request.chunks));
  }
  return text + fmt::format("{:<14}{:>10.3f}{:>11.1f}%\n", "ideal", ideal_s, 100.0);
}

std::string WorkloadText(std::span<const SimulationReport> reports) {
  std::string text =
      fmt::format("{:<14}{:>10}{:>10}{:>10}{:>10}{:>12}{:>8}{:>12}  {}\n", "policy", "TTFT mean", "median",
                  "p99 s", "req/s", "tokens/s", "steps", "efficiency", "stages busy");
  for (const SimulationReport& report : reports) {
    const std::vector<double> ttft = FirstTokenTimes(report);
    const Throughput rate = ThroughputOf(report);
    text += fmt::format("{:<14}{:>10.3f}{:>10.3f}{:>10.3f}{:>10.3f}{:>12.0f}{:>8}{:>11.1f}%  {}\n",
                        report.policy, Mean(ttft), Percentile(ttft, 50), Percentile(ttft, 99),
                        rate.requests_per_s, rate.input_tokens_per_s, report.num_steps(),
                        100 * report.efficiency, Shares(report.stage_busy_share));
  }
  return text;
}

std::string PerRequestText(const SimulationReport& report) {
  std::string text = fmt::format("\n{}\n{:>10}{:>10}{:>10}{:>8}{:>10}{:>10}  {}\n", report.policy,
                                 "arrival s", "prompt", "cached", "output", "TTFT s", "end s", "chunks");
  for (const SimulatedRequest& request : report.requests) {
    text += fmt::format("{:>10.3f}{:>10}{:>10}{:>8}{:>10.3f}{:>10.3f}  {}: {}\n", request.arrival_s,
                        request.prompt_len, request.cached_len, request.output_len, request.ttft_s,
                        request.e2e_s, request.chunks.size(), FormatChunks(request.chunks));
  }
  return text;
}

}  // namespace

Json ReportsJson(std::span<const SimulationReport> reports, ReportDetail detail) {
  Json all = Json::array();
  for (const SimulationReport& report : reports) {
    CHECK(!report.requests.empty());
    Json json = {{"policy", report.policy},
                 {"ttft_s", Mean(FirstTokenTimes(report))},
                 {"efficiency", report.efficiency},
                 {"chunks", report.requests[0].chunks},
                 {"stage_busy_share", report.stage_busy_share},
                 {"steps", report.num_steps()},
                 {"duration_s", report.duration_s}};
    if (detail != ReportDetail::kOnePrompt) AddWorkload(report, &json);
    if (detail == ReportDetail::kPerRequest) json["requests"] = RequestsJson(report);
    all.push_back(std::move(json));
  }
  return all;
}

std::string ReportsText(std::span<const SimulationReport> reports, ReportDetail detail, double ideal_s) {
  if (detail == ReportDetail::kOnePrompt) return OnePromptText(reports, ideal_s);
  std::string text = WorkloadText(reports);
  if (detail == ReportDetail::kPerRequest) {
    for (const SimulationReport& report : reports) text += PerRequestText(report);
  }
  return text;
}

std::string FormatChunks(std::span<const int32_t> chunks) {
  std::vector<std::string> runs;
  for (size_t begin = 0, end = 0; begin < chunks.size(); begin = end) {
    while (end < chunks.size() && chunks[end] == chunks[begin]) ++end;
    const size_t count = end - begin;
    runs.push_back(count == 1 ? fmt::format("{}", chunks[begin])
                              : fmt::format("{} × {}", count, chunks[begin]));
  }
  if (runs.size() > kMostRuns) {
    const size_t num_left_out = runs.size() - kMostRuns;
    runs.erase(runs.begin() + kMostRuns / 2, runs.end() - kMostRuns / 2);
    runs.insert(runs.begin() + kMostRuns / 2, fmt::format("… {} more …", num_left_out));
  }
  return fmt::format("{}", fmt::join(runs, ", "));
}

}  // namespace penstock
