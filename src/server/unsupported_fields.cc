// SPDX-License-Identifier: Apache-2.0
#include "server/unsupported_fields.h"

#include <string_view>

namespace penstock {
namespace {

using Neutral = RequestFields::Neutral;

struct UnsupportedField {
  std::string_view name;
  Neutral neutral;  // this value, null and absence are accepted
};

constexpr UnsupportedField kBoth[] = {
    {"allowed_token_ids", Neutral::kNull},
    {"bad_words", Neutral::kEmpty},
    {"best_of", Neutral::kOne},
    {"early_stopping", Neutral::kFalse},
    {"ec_transfer_params", Neutral::kEmpty},
    {"guided_choice", Neutral::kNull},
    {"guided_decoding_backend", Neutral::kNull},
    {"guided_grammar", Neutral::kNull},
    {"guided_json", Neutral::kNull},
    {"guided_json_object", Neutral::kFalse},
    {"guided_regex", Neutral::kNull},
    {"guided_whitespace_pattern", Neutral::kNull},
    {"kv_transfer_params", Neutral::kEmpty},
    {"length_penalty", Neutral::kOne},
    {"logits_processors", Neutral::kEmpty},
    {"logprob_token_ids", Neutral::kNull},
    {"lora_path", Neutral::kNull},
    {"lora_request", Neutral::kNull},
    {"prompt_logprob_token_ids", Neutral::kNull},
    {"repetition_detection", Neutral::kNull},
    {"return_prompt_text", Neutral::kFalse},
    {"stream_interval", Neutral::kOne},
    {"structured_outputs", Neutral::kEmpty},
    {"thinking_token_budget", Neutral::kMinusOne},
    {"use_beam_search", Neutral::kFalse},
    {"vllm_xargs", Neutral::kEmpty},
    {"watermarking", Neutral::kFalse},
};

constexpr UnsupportedField kChat[] = {
    {"audio", Neutral::kNull},
    {"chat_template", Neutral::kNull},
    {"documents", Neutral::kEmpty},
    {"echo", Neutral::kFalse},
    {"function_call", Neutral::kNull},
    {"functions", Neutral::kEmpty},
    {"media_io_kwargs", Neutral::kEmpty},
    {"mm_processor_kwargs", Neutral::kEmpty},
    {"prediction", Neutral::kNull},
    {"web_search_options", Neutral::kNull},
};

constexpr UnsupportedField kCompletions[] = {
    {"prompt_embeds", Neutral::kEmpty},
    {"suffix", Neutral::kEmpty},
};

void Reject(const UnsupportedField& field, RequestFields* fields) {
  if (fields->IsNeutral(field.name, field.neutral)) return;
  fields->Fail(BadRequest(std::string(field.name), "{} is not supported by this server", field.name));
}

// {"type": "text"} is what is done anyway.
void RejectResponseFormat(RequestFields* fields) {
  const std::optional<Json> format = fields->Value("response_format");
  if (!format) return;
  if (!format->is_object() || !format->contains("type") || !(*format)["type"].is_string()) {
    fields->Fail(BadRequest("response_format", "response_format must be an object with a \"type\""));
  } else if (const auto& type = (*format)["type"].get_ref<const std::string&>(); type != "text") {
    fields->Fail(BadRequest("response_format",
                            "response_format of type \"{}\" is not supported by this server", type));
  }
}

}  // namespace

void RejectUnsupportedFields(Endpoint endpoint, RequestFields* fields) {
  for (const UnsupportedField& field : kBoth) Reject(field, fields);
  if (endpoint == Endpoint::kChat) {
    for (const UnsupportedField& field : kChat) Reject(field, fields);
  } else {
    for (const UnsupportedField& field : kCompletions) Reject(field, fields);
  }
  RejectResponseFormat(fields);
}

}  // namespace penstock
