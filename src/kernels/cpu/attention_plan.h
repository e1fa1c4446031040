// AttentionPlan: shares attention tasks out to the threads of a team. Tasks run longest first, one at a time
// per thread. Where they are too few or too long for an even load (one sequence in decode), they are cut at
// their keys into parts whose states are put together afterwards.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/attention_ops.h"
#include "kernels/cpu/thread_scratch.h"
#include "tensor/buffer.h"

namespace penstock {

// Task: FlashTask or MlaHeadTask.
template <typename Task>
class AttentionPlan {
 public:
  // `cost`: pairs of row and key, about. `min_keys`: the least for a part to be worth its merge.
  void Add(const Task& task, int64_t cost, int32_t min_keys) { tasks_.push_back({task, cost, min_keys}); }

  // Runs what was added and forgets it.
  void Run(ThreadTeam& team, ThreadScratch& scratch, void (*run)(const Task&, void*),
           size_t (*scratch_bytes)(const Task&), void (*merge)(float*, int32_t, const ResultRows&)) {
    Cut(team.size());
    size_t bytes = 0;
    for (const Planned& planned : tasks_) bytes = std::max(bytes, scratch_bytes(planned.task));
    scratch.Reserve(bytes);
    team.ForEach(static_cast<int64_t>(parts_.size()), [&](int64_t i, int thread_idx) {
      const Part& part = parts_[i];
      Task task = tasks_[part.task].task;
      task.key_begin = part.key_begin;
      task.key_end = part.key_end;
      if (part.partial_at >= 0) task.partial = partials_.as<float>() + part.partial_at;
      run(task, scratch.Get(thread_idx));
    });
    if (!merges_.empty()) {
      team.ForEach(static_cast<int64_t>(merges_.size()), [&](int64_t i, int) {
        merge(partials_.as<float>() + merges_[i].partial_at, merges_[i].num_partials,
              ResultOf(tasks_[merges_[i].task].task));
      });
    }
    tasks_.clear();
  }

  size_t bytes() const { return partials_.size(); }

 private:
  struct Planned {
    Task task;
    int64_t cost;
    int32_t min_keys;
  };
  struct Part {
    int64_t cost;
    int64_t partial_at;  // floats; -1: the only part of its task
    int32_t task;
    int32_t key_begin;
    int32_t key_end;
  };
  struct Merge {
    int64_t partial_at;
    int32_t task;
    int32_t num_partials;
  };

  // Makes parts_ and merges_ of tasks_.
  void Cut(int num_threads) {
    constexpr int64_t kPartsPerThread = 4;  // evens out what the estimate of the cost misses
    constexpr int64_t kMinPartCost = 1 << 14;
    parts_.clear();
    merges_.clear();
    int64_t total = 0, partial_floats = 0;
    for (const Planned& planned : tasks_) total += planned.cost;
    const int64_t part_cost = std::max(kMinPartCost, total / (num_threads * kPartsPerThread) + 1);
    for (int32_t t = 0; t < static_cast<int32_t>(tasks_.size()); ++t) {
      const Task& task = tasks_[t].task;
      const int64_t keys = task.key_end - task.key_begin;
      int64_t num_parts = 1;
      if (num_threads > 1) num_parts = std::min(tasks_[t].cost / part_cost + 1, keys / tasks_[t].min_keys);
      const int64_t part_keys =
          RoundUp<int64_t>(CeilDiv(keys, std::max<int64_t>(1, num_parts)), task.key_tile);
      num_parts = CeilDiv(keys, part_keys);
      const ResultRows rows = ResultOf(task);
      if (num_parts > 1) merges_.push_back({partial_floats, t, static_cast<int32_t>(num_parts)});
      for (int64_t i = 0; i < num_parts; ++i) {
        const auto begin = static_cast<int32_t>(task.key_begin + i * part_keys);
        const auto end = static_cast<int32_t>(std::min<int64_t>(task.key_end, begin + part_keys));
        parts_.push_back({tasks_[t].cost / num_parts, num_parts > 1 ? partial_floats : -1, t, begin, end});
        if (num_parts > 1) partial_floats += PartialFloats(rows.num_rows, rows.value_dim);
      }
    }
    std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) { return a.cost > b.cost; });
    if (partials_.size() < partial_floats * sizeof(float)) partials_ = Buffer(partial_floats * sizeof(float));
  }

  std::vector<Planned> tasks_;
  std::vector<Part> parts_;
  std::vector<Merge> merges_;
  Buffer partials_;
};

}  // namespace penstock
