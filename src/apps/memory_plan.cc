// SPDX-License-Identifier: Apache-2.0
#include "apps/memory_plan.h"

#include <algorithm>
#include <limits>

#include "base/checked_math.h"

namespace penstock {
namespace {

// What the error messages need, in one place.
struct Totals {
  uint64_t weight_bytes = 0;
  uint64_t activation_bytes = 0;
  uint64_t kv_block_bytes = 0;
  uint64_t budget_bytes = 0;

  uint64_t fixed_bytes() const { return weight_bytes + activation_bytes; }
  uint64_t room_bytes() const { return budget_bytes > fixed_bytes() ? budget_bytes - fixed_bytes() : 0; }
};

Totals Sum(const MemoryRequest& request) {
  Totals totals;
  for (const RankMemory& rank : request.ranks) {
    totals.weight_bytes += rank.weight_bytes;
    totals.activation_bytes += rank.activation_bytes;
    totals.kv_block_bytes += rank.kv_block_bytes;
  }
  totals.budget_bytes = static_cast<uint64_t>(static_cast<double>(request.free_bytes) * request.utilization);
  return totals;
}

std::string BudgetText(const MemoryRequest& request, const Totals& totals) {
  return fmt::format("weights {} + activations {}; {} may be used ({:.2f} of {} free)",
                     FormatBytes(totals.weight_bytes), FormatBytes(totals.activation_bytes),
                     FormatBytes(totals.budget_bytes), request.utilization, FormatBytes(request.free_bytes));
}

// The blocks that the operator asked for, checked against what is free: they are a wish, not a share, so the
// utilization does not cut them.
Result<uint64_t> ChosenBlocks(const MemoryRequest& request, const Totals& totals) {
  const bool by_count = request.num_blocks.has_value();
  const uint64_t blocks = by_count ? static_cast<uint64_t>(*request.num_blocks)
                                   : static_cast<uint64_t>(*request.kv_cache_bytes) / totals.kv_block_bytes;
  const auto kv_bytes = CheckedMul(blocks, totals.kv_block_bytes);
  const auto total = kv_bytes ? CheckedAdd(*kv_bytes, totals.fixed_bytes()) : std::nullopt;
  if (!total || *total > request.free_bytes) {
    return ResourceExhausted(
        "out of memory: weights {} + activations {} + KV cache {} ({} blocks) = {}, but {} is free; lower {} "
        "or "
        "--max-num-batched-tokens",
        FormatBytes(totals.weight_bytes), FormatBytes(totals.activation_bytes),
        FormatBytes(kv_bytes.value_or(0)), FormatCount(blocks), FormatBytes(total.value_or(0)),
        FormatBytes(request.free_bytes), by_count ? "--num-gpu-blocks-override" : "--kv-cache-memory-bytes");
  }
  return blocks;
}

}  // namespace

Result<MemoryPlan> PlanMemory(const MemoryRequest& request) {
  CHECK(!request.ranks.empty() && request.block_size > 0 && request.max_model_len > 0 &&
        request.max_num_seqs > 0);
  const Totals totals = Sum(request);
  CHECK_GT(totals.kv_block_bytes, 0u);
  const bool is_chosen = request.num_blocks.has_value() || request.kv_cache_bytes.has_value();
  if (!is_chosen && totals.fixed_bytes() > totals.budget_bytes) {
    return ResourceExhausted(
        "out of memory: {}; lower --max-num-batched-tokens, or raise --gpu-memory-utilization",
        BudgetText(request, totals));
  }
  uint64_t blocks = totals.room_bytes() / totals.kv_block_bytes;
  if (is_chosen) {
    ASSIGN_OR_RETURN(blocks, ChosenBlocks(request, totals));
  }
  blocks = std::min<uint64_t>(blocks, std::numeric_limits<int32_t>::max());

  const uint64_t fitting_tokens = blocks * static_cast<uint64_t>(request.block_size);
  int32_t max_model_len = request.max_model_len;
  if (request.auto_max_model_len && fitting_tokens > 0) {
    max_model_len = static_cast<int32_t>(std::min<uint64_t>(max_model_len, fitting_tokens));
  }
  const uint64_t blocks_of_one = CeilDiv<uint64_t>(max_model_len, request.block_size);
  if (blocks < blocks_of_one) {
    return ResourceExhausted(
        "out of memory: the KV cache of one request of {} tokens (--max-model-len) is {}, there is room for "
        "{} "
        "tokens; {}; lower --max-model-len (auto takes what fits), or raise {}",
        FormatCount(max_model_len), FormatBytes(blocks_of_one * totals.kv_block_bytes),
        FormatCount(fitting_tokens), BudgetText(request, totals),
        request.num_blocks
            ? "--num-gpu-blocks-override"
            : (request.kv_cache_bytes ? "--kv-cache-memory-bytes" : "--gpu-memory-utilization"));
  }
  if (!is_chosen) blocks = std::min(blocks, blocks_of_one * static_cast<uint64_t>(request.max_num_seqs));

  MemoryPlan plan;
  plan.num_blocks = static_cast<int32_t>(blocks);
  plan.max_model_len = max_model_len;
  plan.weight_bytes = totals.weight_bytes;
  plan.activation_bytes = totals.activation_bytes;
  plan.kv_bytes = blocks * totals.kv_block_bytes;
  plan.budget_bytes = totals.budget_bytes;
  return plan;
}

double MaxConcurrency(const MemoryPlan& plan, int32_t block_size) {
  return static_cast<double>(plan.num_blocks) / CeilDiv(plan.max_model_len, block_size);
}

std::string FormatBytes(uint64_t bytes) {
  constexpr uint64_t kMiB = 1 << 20;
  if (bytes < 1024 * kMiB) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMiB);
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1024 * kMiB));
}

std::string FormatCount(uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out.push_back(',');
    out.push_back(digits[i]);
  }
  return out;
}

}  // namespace penstock
