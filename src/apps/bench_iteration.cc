// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_iteration.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "apps/output_queue.h"
#include "base/clock.h"

namespace penstock {
namespace {

constexpr double kMicrosPerSecond = 1e6;
constexpr int32_t kPromptVocab = 10000;  // as vLLM: ids that every model has

}  // namespace

std::vector<Request> MakeBenchRequests(const BenchOptions& options, int32_t vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<TokenId> draw(0, std::min(kPromptVocab, vocab_size) - 1);
  std::vector<Request> requests(options.batch_size);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].request_id = fmt::format("bench-{}", i);
    requests[i].prompt_ids.resize(options.input_len);
    for (TokenId& id : requests[i].prompt_ids) id = draw(random);
    requests[i].sampling.ignore_eos = true;
    requests[i].sampling.max_tokens = options.output_len;
    requests[i].sampling.seed = static_cast<int64_t>(i);
    requests[i].detokenize = options.detokenize;
  }
  return requests;
}

Result<LatencySample> RunBenchIteration(Engine& engine, const std::vector<Request>& requests) {
  const std::vector<double> busy_before = engine.Stats().stage_busy_seconds;
  const int64_t begin_us = NowUs();
  OutputQueue outputs;
  for (size_t i = 0; i < requests.size(); ++i) RETURN_IF_ERROR(outputs.Submit(engine, requests[i], i));
  LatencySample sample;
  for (size_t num_live = requests.size(); num_live > 0;) {
    const RequestOutput output = std::move(outputs.Next().output);
    if (output.finish_reason == FinishReason::kNone) continue;
    if (output.finish_reason == FinishReason::kError) return output.error;
    sample.first_token_s.push_back(static_cast<double>(output.times.first_token_us - begin_us) /
                                   kMicrosPerSecond);
    if (sample.chunks.empty()) sample.chunks = output.chunk_lens;
    --num_live;
  }
  sample.latency_s = static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond;
  const std::vector<double> busy_after = engine.Stats().stage_busy_seconds;
  for (size_t stage = 0; stage < busy_after.size(); ++stage) {
    const double before = stage < busy_before.size() ? busy_before[stage] : 0;
    sample.stage_busy_s.push_back(busy_after[stage] - before);
  }
  return sample;
}

Status CheckBenchLength(const BenchOptions& options, int32_t max_model_len) {
  if (int64_t{options.input_len} + options.output_len <= max_model_len) return OkStatus();
  return InvalidArgument(
      "--input-len {} and --output-len {} are {} tokens together, expected at most --max-model-len {}",
      options.input_len, options.output_len, int64_t{options.input_len} + options.output_len, max_model_len);
}

}  // namespace penstock
