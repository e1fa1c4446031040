// SPDX-License-Identifier: Apache-2.0
#include "server/metrics_page.h"

#include <dirent.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <initializer_list>
#include <iterator>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"

namespace penstock {
namespace {

std::string EscapeLabel(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\\' || c == '"') escaped += '\\';
    if (c == '\n')
      escaped += "\\n";
    else
      escaped += c;
  }
  return escaped;
}

using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// Writes families: the head once, then samples, each with the labels that all samples of a writer share.
// Several writers' families are put together in the order in which each was first named, since a family may
// be there only once.
class Page {
 public:
  // Labels of the samples that follow.
  void SetCommonLabels(std::string labels) { common_labels_ = std::move(labels); }

  void Family(std::string_view name, std::string_view type, std::string_view help) {
    const auto [it, is_new] = family_by_name_.try_emplace(std::string(name), families_.size());
    if (is_new) {
      families_.push_back(fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type));
    }
    family_ = it->second;
  }
  void Sample(std::string_view name, double value, Labels labels = {}) {
    text() += name;
    WriteLabels(labels);
    fmt::format_to(std::back_inserter(text()), " {}\n", value);
  }
  void One(std::string_view name, std::string_view type, std::string_view help, double value) {
    Family(name, type, help);
    Sample(name, value);
  }
  void HistogramSamples(const std::string& name, const Histogram& histogram, Labels labels = {}) {
    uint64_t cumulative = 0;
    for (size_t i = 0; i < histogram.counts.size(); ++i) {
      cumulative += histogram.counts[i];
      text() += name + "_bucket";
      const std::string bound = i < histogram.bounds.size() ? fmt::format("{}", histogram.bounds[i]) : "+Inf";
      WriteLabels(labels, bound);
      fmt::format_to(std::back_inserter(text()), " {}\n", cumulative);
    }
    Sample(name + "_sum", histogram.sum, labels);
    Sample(name + "_count", static_cast<double>(histogram.count), labels);
  }
  std::string Text() const { return fmt::format("{}", fmt::join(families_, "")); }

 private:
  std::string& text() { return families_[family_]; }
  void WriteLabels(Labels labels, std::string_view upper_bound = {}) {
    std::string inside = common_labels_;
    const auto add = [&](std::string_view key, std::string_view value) {
      fmt::format_to(std::back_inserter(inside), "{}{}=\"{}\"", inside.empty() ? "" : ",", key,
                     EscapeLabel(value));
    };
    for (const auto& [key, value] : labels) add(key, value);
    if (!upper_bound.empty()) add("le", upper_bound);
    if (!inside.empty()) text() += "{" + inside + "}";
  }

  std::string common_labels_;
  std::vector<std::string> families_;
  std::unordered_map<std::string, size_t> family_by_name_;
  size_t family_ = 0;  // of the samples that follow
};

void WriteGauges(const EngineStats& stats, const EngineLimits& limits, int64_t now_us, Page* page) {
  page->One("vllm:num_requests_running", "gauge", "Number of requests in execution.", stats.num_running);
  page->One("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.",
            stats.num_waiting);
  page->Family("vllm:num_requests_waiting_by_reason", "gauge", "Number of requests waiting, by reason.");
  page->Sample("vllm:num_requests_waiting_by_reason", stats.num_waiting - stats.num_deferred,
               {{"reason", "capacity"}});
  page->Sample("vllm:num_requests_waiting_by_reason", stats.num_deferred, {{"reason", "deferred"}});
  page->One("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.",
            stats.kv_cache_usage);
  page->Family("vllm:engine_sleep_state", "gauge", "Engine sleep state; this engine is always awake.");
  page->Sample("vllm:engine_sleep_state", 1, {{"sleep_state", "awake"}});
  const int64_t cache_tokens = int64_t{stats.num_blocks} * stats.block_size;
  const double concurrency =
      limits.max_model_len > 0 ? static_cast<double>(cache_tokens) / limits.max_model_len : 0;
  page->Family("vllm:cache_config_info", "gauge", "Information of the KV cache.");
  page->Sample("vllm:cache_config_info", 1,
               {{"block_size", std::to_string(stats.block_size)},
                {"num_gpu_blocks", std::to_string(stats.num_blocks)},
                {"kv_cache_size_tokens", std::to_string(cache_tokens)},
                {"kv_cache_max_concurrency", fmt::format("{:.2f}", concurrency)}});
  page->One("penstock:waiting_prompt_tokens", "gauge", "Prompt tokens not yet computed.",
            static_cast<double>(stats.waiting_prompt_tokens));
  if (stats.prefill_backlog_seconds) {
    page->One("penstock:prefill_backlog_seconds", "gauge",
              "Predicted time of the prompt tokens not yet computed, on the slowest stage.",
              *stats.prefill_backlog_seconds);
  }
  page->Family("penstock:scheduler_info", "gauge", "How requests are ordered, and prompts cut into chunks.");
  page->Sample("penstock:scheduler_info", 1,
               {{"scheduling_policy", stats.scheduling_policy}, {"chunk_policy", stats.chunk_policy}});
  page->One("penstock:steps_in_flight", "gauge", "Steps in the pipeline.", stats.steps_in_flight);
  page->One("penstock:progress_age_seconds", "gauge",
            "Seconds since a step last came back, while steps are in flight.",
            stats.steps_in_flight > 0 ? static_cast<double>(now_us - stats.last_progress_us) / 1e6 : 0.0);
}

// t = step + soft_max(token * tokens, floor) + pair * pairs + … (plan/cost_model.h), in microseconds.
void WriteCost(const CostModel& cost, Page* page) {
  if (!cost.known()) return;
  page->Family("penstock:cost_coefficient_microseconds", "gauge",
               "The cost model that prompts are planned with: microseconds for each unit of a term.");
  for (size_t i = 0; i < cost.stages.size(); ++i) {
    const StageCost& stage = cost.stages[i];
    const std::pair<std::string_view, double> terms[] = {{"step", stage.step_us},
                                                         {"token", stage.token_us},
                                                         {"floor", stage.floor_us},
                                                         {"pair", stage.pair_us},
                                                         {"history", stage.history_us},
                                                         {"seq", stage.seq_us},
                                                         {"decode_token", stage.decode_token_us},
                                                         {"decode_context", stage.decode_context_us}};
    for (const auto& [term, value] : terms) {
      page->Sample("penstock:cost_coefficient_microseconds", value,
                   {{"stage", std::to_string(i)}, {"term", term}});
    }
  }
}

void WriteCounters(const EngineStats& stats, Page* page) {
  const auto counter = [&](std::string_view name, std::string_view help, uint64_t value) {
    page->One(name, "counter", help, static_cast<double>(value));
  };
  counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.", stats.prompt_tokens);
  page->Family("vllm:prompt_tokens_by_source_total", "counter", "Number of prompt tokens by source.");
  page->Sample(
      "vllm:prompt_tokens_by_source_total",
      static_cast<double>(stats.prompt_tokens - std::min(stats.prompt_tokens, stats.prompt_tokens_cached)),
      {{"source", "local_compute"}});
  page->Sample("vllm:prompt_tokens_by_source_total", static_cast<double>(stats.prompt_tokens_cached),
               {{"source", "local_cache_hit"}});
  counter("vllm:prompt_tokens_cached_total", "Number of cached prompt tokens.", stats.prompt_tokens_cached);
  counter("vllm:generation_tokens_total", "Number of generation tokens processed.", stats.generation_tokens);
  counter("vllm:prefix_cache_queries_total", "Prefix cache queries, in tokens.", stats.prefix_cache_queries);
  counter("vllm:prefix_cache_hits_total", "Prefix cache hits, in tokens.", stats.prefix_cache_hits);
  counter("vllm:num_preemptions_total", "Number of preemptions.", stats.preemptions);
  page->Family("vllm:request_success_total", "counter", "Count of finished requests.");
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    const auto it = stats.finished.find(reason);
    page->Sample("vllm:request_success_total",
                 it == stats.finished.end() ? 0 : static_cast<double>(it->second),
                 {{"finished_reason", reason}});
  }
  page->Family("vllm:admission_rejections_total", "counter", "Requests refused before they were admitted.");
  for (const auto& [reason, count] : stats.admission_rejections) {
    page->Sample("vllm:admission_rejections_total", static_cast<double>(count), {{"reason", reason}});
  }
  counter("penstock:steps_total", "Steps that came back from the pipeline.", stats.steps);
  page->Family("penstock:stage_busy_seconds_total", "counter", "Time that each stage spent executing.");
  for (size_t i = 0; i < stats.stage_busy_seconds.size(); ++i) {
    page->Sample("penstock:stage_busy_seconds_total", stats.stage_busy_seconds[i],
                 {{"stage", std::to_string(i)}});
  }
  page->Family("penstock:stage_bubble_seconds_total", "counter",
               "Time that each stage did not execute while requests were live, by cause.");
  for (size_t i = 0; i < stats.stage_bubble_seconds.size(); ++i) {
    for (const auto& [name, seconds] : stats.stage_bubble_seconds[i]) {
      std::string cause = name;
      std::replace(cause.begin(), cause.end(), ' ', '_');
      page->Sample("penstock:stage_bubble_seconds_total", seconds,
                   {{"stage", std::to_string(i)}, {"cause", cause}});
    }
  }
}

void WriteEngine(const EngineStats& engine, const EngineLimits& limits, int64_t now_us, Page* page) {
  WriteGauges(engine, limits, now_us, page);
  WriteCost(engine.cost, page);
  WriteCounters(engine, page);
  for (const auto& [prefix, histograms] :
       {std::pair("vllm:", &engine.histograms), std::pair("penstock:", &engine.own_histograms)}) {
    for (const auto& [name, histogram] : *histograms) {
      const std::string full_name = prefix + name;
      page->Family(full_name, "histogram", "Histogram of " + name + ".");
      page->HistogramSamples(full_name, histogram);
    }
  }
}

void WriteRanks(const RankCounters& ranks, Page* page) {
  page->Family("penstock:comm_sent_bytes_total", "counter",
               "Bytes that ranks have sent to others, by the group in which they share work.");
  const std::pair<std::string_view, uint64_t> groups[] = {{"tp", ranks.tp_bytes},
                                                          {"pcp", ranks.pcp_bytes},
                                                          {"ep", ranks.ep_bytes},
                                                          {"stage", ranks.stage_bytes},
                                                          {"handover", ranks.handover_bytes}};
  for (const auto& [group, bytes] : groups) {
    page->Sample("penstock:comm_sent_bytes_total", static_cast<double>(bytes), {{"group", group}});
  }
  size_t num_series = 0;
  for (const auto& layer : ranks.expert_tokens) num_series += layer.size();
  if (num_series == 0 || num_series > kMaxExpertSeries) return;
  page->Family("penstock:expert_tokens_total", "counter", "Tokens that were routed to each expert.");
  for (size_t layer = 0; layer < ranks.expert_tokens.size(); ++layer) {
    const std::vector<uint64_t>& counts = ranks.expert_tokens[layer];
    for (size_t e = 0; e < counts.size(); ++e) {
      page->Sample("penstock:expert_tokens_total", static_cast<double>(counts[e]),
                   {{"layer", std::to_string(layer)}, {"expert", std::to_string(e)}});
    }
  }
}

// Ranks hold experts for all engines together.
void WriteImbalance(const std::vector<double>& layers, Page* page) {
  if (layers.empty()) return;
  page->Family("penstock:expert_load_imbalance", "gauge",
               "Tokens of the rank that experts of a layer gave the most to do, over the mean of the ranks.");
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer] == 0) continue;
    page->Sample("penstock:expert_load_imbalance", layers[layer], {{"layer", std::to_string(layer)}});
  }
}

void WriteHttp(const HttpStats& http, Page* page) {
  page->Family("http_requests_total", "counter", "Total number of requests by method, status and handler.");
  for (const auto& [key, count] : http.requests) {
    const auto& [handler, method, status] = key;
    page->Sample("http_requests_total", static_cast<double>(count),
                 {{"handler", handler}, {"method", method}, {"status", status}});
  }
  page->Family("http_request_duration_seconds", "histogram", "Time to the end of the answer, by handler.");
  for (const auto& [key, histogram] : http.durations) {
    page->HistogramSamples("http_request_duration_seconds", histogram,
                           {{"handler", key.first}, {"method", key.second}});
  }
}

void WriteProcess(const ProcessStats& process, Page* page) {
  page->One("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
            static_cast<double>(process.virtual_bytes));
  page->One("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
            static_cast<double>(process.resident_bytes));
  page->One("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
            process.start_time_seconds);
  page->One("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
            process.cpu_seconds);
  page->One("process_open_fds", "gauge", "Number of open file descriptors.",
            static_cast<double>(process.open_fds));
  page->One("process_max_fds", "gauge", "Maximum number of open file descriptors.",
            static_cast<double>(process.max_fds));
}

// Field 22 of /proc/self/stat, in clock ticks after boot, and the boot time of /proc/stat.
double ProcessStartSeconds() {
  Result<std::string> stat = ReadTextFile("/proc/self/stat");
  Result<std::string> system = ReadTextFile("/proc/stat");
  if (!stat.ok() || !system.ok()) return 0;
  size_t pos = stat->rfind(')');  // the program's name may hold spaces
  for (int field = 2; field < 22 && pos != std::string::npos; ++field) pos = stat->find(' ', pos + 1);
  const size_t boot = system->find("btime ");
  if (pos == std::string::npos || boot == std::string::npos) return 0;
  const double ticks = static_cast<double>(std::strtoull(stat->c_str() + pos, nullptr, 10));
  return static_cast<double>(std::strtoull(system->c_str() + boot + 6, nullptr, 10)) +
         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t CountOpenFds() {
  DIR* const directory = opendir("/proc/self/fd");
  if (!directory) return 0;
  int64_t count = 0;
  while (readdir(directory)) ++count;
  closedir(directory);
  return count - 3;  // ".", ".." and the directory itself
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  if (Result<std::string> statm = ReadTextFile("/proc/self/statm"); statm.ok()) {
    int64_t pages = 0, resident_pages = 0;
    if (std::sscanf(statm->c_str(), "%" SCNd64 " %" SCNd64, &pages, &resident_pages) == 2) {
      stats.virtual_bytes = pages * sysconf(_SC_PAGESIZE);
      stats.resident_bytes = resident_pages * sysconf(_SC_PAGESIZE);
    }
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    stats.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = static_cast<int64_t>(limit.rlim_cur);
  stats.open_fds = CountOpenFds();
  stats.start_time_seconds = ProcessStartSeconds();
  return stats;
}

std::string MetricsPage(const std::string& model_name, std::span<const EngineStats> engines,
                        const EngineLimits& limits, const HttpStats& http, const ProcessStats& process,
                        int64_t now_us, const RankMetrics& ranks) {
  Page page;
  for (size_t i = 0; i < engines.size(); ++i) {
    page.SetCommonLabels(fmt::format("model_name=\"{}\",engine=\"{}\"", EscapeLabel(model_name), i));
    WriteEngine(engines[i], limits, now_us, &page);
    if (i < ranks.engines.size()) WriteRanks(ranks.engines[i], &page);
  }
  page.SetCommonLabels(fmt::format("model_name=\"{}\"", EscapeLabel(model_name)));
  WriteImbalance(ranks.expert_load_imbalance, &page);
  page.SetCommonLabels("");
  WriteHttp(http, &page);
  WriteProcess(process, &page);
  return page.Text();
}

}  // namespace penstock
