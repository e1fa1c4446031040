// SamplingDefaults: the sampling values of requests that bring none, from the model's generation_config.json
// and the operator's flags.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "plan/sampling_params.h"

namespace penstock {

struct SamplingDefaults {
  SamplingParams params;
  std::optional<int32_t> max_tokens;  // max_new_tokens: bounds answers that ask for no number
};

// `source` is --generation-config: "auto" (generation_config.json of `model_dir`, if there is one), "vllm"
// (nothing), or a directory that has one. `overrides` (object or null) replace single keys. Read are
// temperature, top_p, top_k, min_p, repetition_penalty and max_new_tokens, as vLLM does; a null is a value
// that is not set, and other keys of the file are none of ours. kInvalidArgument names the key, what was got
// and what is expected.
Result<SamplingDefaults> ReadSamplingDefaults(const std::string& model_dir, const std::string& source,
                                              const Json& overrides);

}  // namespace penstock
