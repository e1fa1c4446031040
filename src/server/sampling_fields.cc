// Ranges are vLLM's (sampling_params.py). Greedy sampling ignores top_p, top_k and min_p, as there.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/sampling_fields.h"

#include <algorithm>
#include <cstdint>

namespace penstock {
namespace {

constexpr float kMinTemperature = 0.01f;  // below it, not 0: logits divided by it would overflow
constexpr size_t kMaxStopTokenIds = 1024;
constexpr double kMaxRepetitionPenalty = 1e6;  // finite in every product with a logit

void ParsePenalties(RequestFields* fields, SamplingParams* sampling) {
  if (const auto value = fields->Number("presence_penalty", -2, 2))
    sampling->presence_penalty = static_cast<float>(*value);
  if (const auto value = fields->Number("frequency_penalty", -2, 2))
    sampling->frequency_penalty = static_cast<float>(*value);
  if (const auto value =
          fields->Number("repetition_penalty", 0, kMaxRepetitionPenalty, /*min_excluded=*/true)) {
    sampling->repetition_penalty = std::max(static_cast<float>(*value), 1e-6f);
  }
}

void ParseDistribution(const EngineLimits& limits, RequestFields* fields, SamplingParams* sampling) {
  if (const auto value = fields->Number("temperature", 0, 2)) {
    sampling->temperature = *value > 0 ? std::max(static_cast<float>(*value), kMinTemperature) : 0.0f;
  }
  if (const auto value = fields->Number("top_p", 0, 1, /*min_excluded=*/true)) {
    sampling->top_p = std::max(static_cast<float>(*value), 1e-9f);
  }
  if (const auto value = fields->Int("top_k", -1, INT32_MAX)) {
    sampling->top_k = std::clamp<int32_t>(static_cast<int32_t>(*value), 0, limits.vocab_size);
  }
  if (const auto value = fields->Number("min_p", 0, 1)) sampling->min_p = static_cast<float>(*value);
  if (sampling->temperature == 0.0f) {
    sampling->top_p = 1.0f;
    sampling->top_k = 0;
    sampling->min_p = 0.0f;
  }
}

void ParseStops(const RequestRules& rules, RequestFields* fields, SamplingParams* sampling) {
  if (auto stop = fields->Strings("stop", rules.max_stop_strings)) sampling->stop = *std::move(stop);
  if (auto ids = fields->TokenIds("stop_token_ids", rules.engine.vocab_size, kMaxStopTokenIds)) {
    // Those of the model's generation_config.json stay beside those of the request.
    for (const TokenId id : *ids) {
      if (std::find(sampling->stop_token_ids.begin(), sampling->stop_token_ids.end(), id) ==
          sampling->stop_token_ids.end()) {
        sampling->stop_token_ids.push_back(id);
      }
    }
  }
  sampling->include_stop_str_in_output = fields->Bool("include_stop_str_in_output").value_or(false);
  sampling->ignore_eos = fields->Bool("ignore_eos").value_or(sampling->ignore_eos);
  sampling->min_tokens = static_cast<int32_t>(fields->Int("min_tokens", 0, INT32_MAX).value_or(0));
  sampling->skip_special_tokens = fields->Bool("skip_special_tokens").value_or(true);
  (void)fields->Bool(
      "spaces_between_special_tokens");  // only its type: byte-level tokenizers have no such spaces
}

}  // namespace

void ParseSamplingFields(const RequestRules& rules, RequestFields* fields, GenerationRequest* request) {
  SamplingParams& sampling = request->sampling;
  sampling = rules.default_sampling;
  ParseDistribution(rules.engine, fields, &sampling);
  ParsePenalties(fields, &sampling);
  ParseStops(rules, fields, &sampling);
  sampling.seed = fields->Int("seed", INT64_MIN, INT64_MAX);
  sampling.logit_bias = fields->TokenBiases("logit_bias", rules.engine.vocab_size, 100.0f);

  request->n = static_cast<int32_t>(fields->Int("n", 1, rules.engine.max_num_seqs).value_or(1));
  if (!fields->error() && sampling.temperature == 0.0f && request->n > 1) {
    fields->Fail(BadRequest("n", "n must be 1 when using greedy sampling, got {}", request->n));
  }
}

}  // namespace penstock
