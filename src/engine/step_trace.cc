// SPDX-License-Identifier: Apache-2.0
#include "engine/step_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace penstock {

void StepTrace::OnSubmit(const Step& step, int64_t now_us, bool begins_period) {
  StepRecord record;
  record.step_id = step.step_id;
  record.submit_us = now_us;
  record.begins_period = begins_period;
  for (const Chunk& chunk : step.chunks)
    record.chunks.push_back({chunk.seq, chunk.pos, chunk.len, chunk.is_decode});
  steps_.push_back(std::move(record));
  if (steps_.size() > max_steps_) steps_.pop_front();
}

void StepTrace::OnResult(const StepResult& result, int64_t now_us) {
  const auto it = std::lower_bound(steps_.begin(), steps_.end(), result.step_id,
                                   [](const StepRecord& record, uint64_t id) { return record.step_id < id; });
  if (it == steps_.end() || it->step_id != result.step_id) return;
  it->stamps = result.stamps;
  it->ok = result.status.ok();
  it->result_us = now_us;
}

namespace {

constexpr std::string_view kTraceHead = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
constexpr std::string_view kTraceTail = "\n]}\n";

using Out = std::back_insert_iterator<std::string>;

// What a step holds, in a few words for its slice.
std::string Label(const StepRecord& step) {
  int32_t num_decodes = 0;
  int32_t num_prompt_tokens = 0;
  for (const ChunkRecord& chunk : step.chunks) {
    num_decodes += chunk.is_decode;
    num_prompt_tokens += chunk.is_decode ? 0 : chunk.len;
  }
  if (num_prompt_tokens == 0) return fmt::format("decode {}", num_decodes);
  if (num_decodes == 0) return fmt::format("prefill {}", num_prompt_tokens);
  return fmt::format("prefill {} + decode {}", num_prompt_tokens, num_decodes);
}

std::string ChunkList(const StepRecord& step) {
  std::string list;
  for (const ChunkRecord& chunk : step.chunks) {
    list += fmt::format("{}[{},{},{}]", list.empty() ? "" : ",", chunk.seq, chunk.pos, chunk.len);
  }
  return list;
}

void WriteSlice(Out out, int32_t pid, const StepRecord& step, const StageStamp& stamp) {
  fmt::format_to(out,
                 R"(,
{{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"name":"{}","cat":"step","args":{{"step":{},"ok":{},"chunks_seq_pos_len":[{}]}}}})",
                 pid, stamp.stage, stamp.begin_us, stamp.end_us - stamp.begin_us, Label(step), step.step_id,
                 step.ok, ChunkList(step));
}

// An arrow leads from stage to stage, from slice to slice: it is put at the begin of its step on each.
// Its id is unique among those of all processes.
void WriteArrow(Out out, int32_t pid, const StepRecord& step, std::string_view id, std::string_view name) {
  if (step.stamps.size() < 2) return;
  for (size_t i = 0; i < step.stamps.size(); ++i) {
    const StageStamp& stamp = step.stamps[i];
    const bool last = i + 1 == step.stamps.size();
    const char* phase = i == 0 ? "s" : last ? "f" : "t";
    fmt::format_to(out, R"(,
{{"ph":"{}","pid":{},"tid":{},"ts":{},"id":"{}{}","name":"{}","cat":"flow"{}}})",
                   phase, pid, stamp.stage, stamp.begin_us, pid == 0 ? "" : fmt::format("{}:", pid), id, name,
                   last ? R"(,"bp":"e")" : "");
  }
}

// One for each chunk of a prompt, and one for all decode tokens together.
void WriteArrows(Out out, int32_t pid, const StepRecord& step) {
  bool any_decode = false;
  for (const ChunkRecord& chunk : step.chunks) {
    any_decode |= chunk.is_decode;
    if (chunk.is_decode) continue;
    WriteArrow(out, pid, step, fmt::format("{}.{}", step.step_id, chunk.seq),
               fmt::format("sequence {} [{}, {})", chunk.seq, chunk.pos, chunk.pos + chunk.len));
  }
  if (any_decode) WriteArrow(out, pid, step, fmt::format("{}", step.step_id), "decode");
}

void WriteIdleSlices(Out out, int32_t pid, const std::vector<IdleSlice>& slices) {
  for (const IdleSlice& slice : slices) {
    fmt::format_to(out, R"(,
{{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"name":"{}","cat":"bubble"}})",
                   pid, slice.stage, slice.begin_us, slice.end_us - slice.begin_us,
                   IdleCauseName(slice.cause));
  }
}

}  // namespace

std::string StepTrace::ToChromeJson(int32_t replica) const {
  const int32_t pid = std::max(replica, 0);
  std::string json = fmt::format(R"({}{{"ph":"M","pid":{},"name":"process_name","args":{{"name":"{}"}}}})",
                                 kTraceHead, pid, replica < 0 ? "pipeline" : fmt::format("replica {}", pid));
  Out out(json);
  size_t num_stages = 0;
  IdleFinder idle;
  std::vector<IdleSlice> idle_slices;
  for (const StepRecord& step : steps_) {
    if (step.begins_period) idle.EndPeriod(&idle_slices);
    idle.OnStep(step.submit_us, step.stamps, &idle_slices);
    for (const StageStamp& stamp : step.stamps) {
      num_stages = std::max(num_stages, static_cast<size_t>(stamp.stage) + 1);
      WriteSlice(out, pid, step, stamp);
    }
    WriteArrows(out, pid, step);
  }
  idle.EndPeriod(&idle_slices);
  WriteIdleSlices(out, pid, idle_slices);
  for (size_t stage = 0; stage < num_stages; ++stage) {
    fmt::format_to(out, R"(,
{{"ph":"M","pid":{1},"tid":{0},"name":"thread_name","args":{{"name":"stage {0}"}}}})",
                   stage, pid);
  }
  json += kTraceTail;
  return json;
}

std::string MergeTraces(const std::vector<std::string>& traces) {
  std::string merged;
  for (const std::string& trace : traces) {
    if (trace.empty()) continue;
    const size_t begin = kTraceHead.size(), end = trace.size() - kTraceTail.size();
    CHECK(trace.starts_with(kTraceHead) && trace.ends_with(kTraceTail));
    merged += merged.empty() ? kTraceHead : ",\n";
    merged += std::string_view(trace).substr(begin, end - begin);
  }
  if (!merged.empty()) merged += kTraceTail;
  return merged;
}

double PipelineUse::overlap_share() const {
  if (span_us == 0 || time_at_us.size() < 3) return 0;
  const int64_t overlap_us = std::accumulate(time_at_us.begin() + 2, time_at_us.end(), int64_t{0});
  return static_cast<double>(overlap_us) / static_cast<double>(span_us);
}

double PipelineUse::efficiency() const {
  if (span_us == 0) return 0;
  const int64_t busy_us = std::accumulate(stage_busy_us.begin(), stage_busy_us.end(), int64_t{0});
  return static_cast<double>(busy_us) /
         (static_cast<double>(span_us) * static_cast<double>(stage_busy_us.size()));
}

PipelineUse ComputePipelineUse(const std::deque<StepRecord>& steps, int num_stages) {
  PipelineUse use;
  use.stage_busy_us.resize(num_stages);
  use.time_at_us.resize(num_stages + 1);
  std::vector<std::pair<int64_t, int>> edges;  // (time, +1 or -1 working stages)
  for (const StepRecord& step : steps) {
    for (const StageStamp& stamp : step.stamps) {
      use.stage_busy_us.at(stamp.stage) += stamp.end_us - stamp.begin_us;
      edges.emplace_back(stamp.begin_us, 1);
      edges.emplace_back(stamp.end_us, -1);
    }
  }
  if (edges.empty()) return use;
  std::sort(edges.begin(), edges.end());  // at the same time, ends come first
  use.span_us = edges.back().first - edges.front().first;
  int num_working = 0;
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    num_working += edges[i].second;
    // A step of no duration has its end before its begin.
    use.time_at_us.at(std::max(num_working, 0)) += edges[i + 1].first - edges[i].first;
  }
  return use;
}

}  // namespace penstock
