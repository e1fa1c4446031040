// SPDX-License-Identifier: Apache-2.0
#include "engine/step_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace penstock {

void StepTrace::OnSubmit(const Step& step, int64_t now_us) {
  StepRecord record;
  record.step_id = step.step_id;
  record.submit_us = now_us;
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

void WriteSlice(Out out, const StepRecord& step, const StageStamp& stamp) {
  fmt::format_to(out,
                 R"(,
{{"ph":"X","pid":0,"tid":{},"ts":{},"dur":{},"name":"{}","cat":"step","args":{{"step":{},"ok":{},"chunks_seq_pos_len":[{}]}}}})",
                 stamp.stage, stamp.begin_us, stamp.end_us - stamp.begin_us, Label(step), step.step_id,
                 step.ok, ChunkList(step));
}

// Arrows begin and end in slices, so each is put at the begin of its step on that stage.
void WriteArrow(Out out, const StepRecord& step, size_t idx) {
  const StageStamp& stamp = step.stamps[idx];
  const bool last = idx + 1 == step.stamps.size();
  const char* phase = idx == 0 ? "s" : last ? "f" : "t";
  fmt::format_to(out, R"(,
{{"ph":"{}","pid":0,"tid":{},"ts":{},"id":{},"name":"step","cat":"flow"{}}})",
                 phase, stamp.stage, stamp.begin_us, step.step_id, last ? R"(,"bp":"e")" : "");
}

// A stage that has ended one step and not begun the next: starved until the next one arrived.
void WriteGap(Out out, const StageStamp& stamp, int64_t free_us) {
  if (free_us == 0 || stamp.begin_us <= free_us) return;
  const bool starved = stamp.recv_us > free_us;
  fmt::format_to(out, R"(,
{{"ph":"X","pid":0,"tid":{},"ts":{},"dur":{},"name":"{}","cat":"bubble"}})",
                 stamp.stage, free_us, stamp.begin_us - free_us, starved ? "starved" : "overhead");
}

}  // namespace

std::string StepTrace::ToChromeJson() const {
  std::string json = R"({"displayTimeUnit":"ms","traceEvents":[
{"ph":"M","pid":0,"name":"process_name","args":{"name":"pipeline"}})";
  Out out(json);
  std::vector<int64_t> free_us;  // by stage
  for (const StepRecord& step : steps_) {
    for (size_t i = 0; i < step.stamps.size(); ++i) {
      const StageStamp& stamp = step.stamps[i];
      const auto stage = static_cast<size_t>(stamp.stage);
      for (size_t s = free_us.size(); s <= stage; ++s) {
        fmt::format_to(out, R"(,
{{"ph":"M","pid":0,"tid":{0},"name":"thread_name","args":{{"name":"stage {0}"}}}})",
                       s);
        free_us.push_back(0);
      }
      WriteGap(out, stamp, free_us[stage]);
      WriteSlice(out, step, stamp);
      if (step.stamps.size() > 1) WriteArrow(out, step, i);
      free_us[stage] = stamp.end_us;
    }
  }
  json += "\n]}\n";
  return json;
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
