// SPDX-License-Identifier: Apache-2.0
#include "apps/latency_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/percentile.h"

namespace penstock {
namespace {

constexpr int kPercents[] = {10, 25, 50, 75, 90, 99};

// What both forms of the report are made of.
struct Summary {
  std::vector<double> latencies;
  std::vector<double> first_tokens;      // of all requests of all iterations
  std::vector<double> stage_busy_share;  // [num_stages]
  double input_tokens_per_second = 0;    // prompt tokens over the time to the last first token
  double output_tokens_per_second = 0;   // generated tokens over the whole time
};

Summary Summarise(const LatencyReport& report) {
  CHECK(!report.samples.empty());
  Summary summary;
  double total_s = 0, prefill_s = 0;
  summary.stage_busy_share.resize(report.samples[0].stage_busy_s.size());
  for (const LatencySample& sample : report.samples) {
    summary.latencies.push_back(sample.latency_s);
    summary.first_tokens.insert(summary.first_tokens.end(), sample.first_token_s.begin(),
                                sample.first_token_s.end());
    total_s += sample.latency_s;
    prefill_s += *std::max_element(sample.first_token_s.begin(), sample.first_token_s.end());
    for (size_t i = 0; i < sample.stage_busy_s.size(); ++i)
      summary.stage_busy_share[i] += sample.stage_busy_s[i];
  }
  for (double& share : summary.stage_busy_share) share /= total_s;
  const double num_requests = static_cast<double>(report.samples.size()) * report.batch_size;
  summary.input_tokens_per_second = num_requests * report.input_len / prefill_s;
  summary.output_tokens_per_second = num_requests * report.output_len / total_s;
  return summary;
}

}  // namespace

std::string LatencyText(const LatencyReport& report) {
  const Summary summary = Summarise(report);
  std::string text = fmt::format("Avg latency: {} seconds\n", Mean(summary.latencies));
  for (int percent : kPercents) {
    text +=
        fmt::format("{}% percentile latency: {} seconds\n", percent, Percentile(summary.latencies, percent));
  }
  text += fmt::format("Time to first token: mean {:.1f} ms, median {:.1f} ms, largest {:.1f} ms\n",
                      Mean(summary.first_tokens) * 1000, Percentile(summary.first_tokens, 50) * 1000,
                      Percentile(summary.first_tokens, 100) * 1000);
  text += fmt::format("Prompt: {:.1f} tokens/s; output: {:.1f} tokens/s\n", summary.input_tokens_per_second,
                      summary.output_tokens_per_second);
  text += "Busy share of stages:";
  for (double share : summary.stage_busy_share) text += fmt::format(" {:.1f}%", share * 100);
  return text + "\n";
}

Json LatencyJson(const LatencyReport& report) {
  const Summary summary = Summarise(report);
  Json percentiles = Json::object();
  for (int percent : kPercents) percentiles[std::to_string(percent)] = Percentile(summary.latencies, percent);
  return {{"model_id", report.model},
          {"avg_latency", Mean(summary.latencies)},
          {"latencies", summary.latencies},
          {"percentiles", percentiles},
          {"input_len", report.input_len},
          {"output_len", report.output_len},
          {"batch_size", report.batch_size},
          {"ttft",
           {{"mean", Mean(summary.first_tokens)},
            {"median", Percentile(summary.first_tokens, 50)},
            {"max", Percentile(summary.first_tokens, 100)}}},
          {"input_tokens_per_second", summary.input_tokens_per_second},
          {"output_tokens_per_second", summary.output_tokens_per_second},
          {"stage_busy_share", summary.stage_busy_share}};
}

}  // namespace penstock
