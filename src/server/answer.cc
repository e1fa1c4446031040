// SPDX-License-Identifier: Apache-2.0
#include "server/answer.h"

#include <iterator>
#include <numeric>
#include <utility>

#include "server/chat_answer.h"
#include "server/completion_answer.h"

namespace penstock {

void MergeOutput(RequestOutput more, RequestOutput* sum) {
  // What grows is appended in place, so that a long answer costs no copies; all else is the newer one's.
  const auto append = [](auto* sum, auto* more) {
    sum->insert(sum->end(), std::make_move_iterator(more->begin()), std::make_move_iterator(more->end()));
    *more = std::move(*sum);
  };
  append(&sum->text, &more.text);
  append(&sum->token_ids, &more.token_ids);
  append(&sum->logprobs, &more.logprobs);
  append(&sum->prompt_logprobs, &more.prompt_logprobs);
  append(&sum->progress, &more.progress);
  *sum = std::move(more);
}

std::unique_ptr<Answer> Answer::Make(std::string id, int64_t created, GenerationRequest request,
                                     std::vector<TokenizedPrompt> prompts, const Tokenizer& tokenizer,
                                     AnswerOptions options) {
  if (options.force_include_usage && request.stream)
    request.include_usage = request.continuous_usage_stats = true;
  if (request.endpoint == Endpoint::kChat) {
    return std::make_unique<ChatAnswer>(std::move(id), created, std::move(request), std::move(prompts),
                                        tokenizer, options);
  }
  return std::make_unique<CompletionAnswer>(std::move(id), created, std::move(request), std::move(prompts),
                                            tokenizer, options);
}

Answer::Answer(std::string id, int64_t created, GenerationRequest request,
               std::vector<TokenizedPrompt> prompts, const Tokenizer& tokenizer, AnswerOptions options)
    : id_(std::move(id)),
      created_(created),
      request_(std::move(request)),
      prompts_(std::move(prompts)),
      logprobs_(tokenizer, request_.return_tokens_as_token_ids),
      options_(options),
      choices_(prompts_.size() * request_.n),
      num_cached_tokens_(prompts_.size()) {}

void Answer::Count(int choice_idx, const RequestOutput& delta) {
  Choice& choice = choices_[choice_idx];
  choice.num_tokens += static_cast<int64_t>(delta.token_ids.size());
  choice.metrics = {.times = delta.times,
                    .num_output_tokens = choice.num_tokens,
                    .num_cached_tokens = delta.num_cached_tokens,
                    .num_preemptions = delta.num_preemptions,
                    .chunk_lens = delta.chunk_lens};
  if (choice_idx % request_.n == 0) num_cached_tokens_[choice_idx / request_.n] = delta.num_cached_tokens;
  if (delta.finish_reason != FinishReason::kNone) ++num_finished_;
}

void Answer::AppendChunk(int choice_idx, const RequestOutput& delta, std::string* events) {
  Count(choice_idx, delta);
  for (const PromptProgress& progress : delta.progress) AppendProgress(choice_idx, progress, events);
  AppendChunkEvents(choice_idx, delta, events);
}

// As llama.cpp's server does it.
void Answer::AppendProgress(int choice_idx, const PromptProgress& progress, std::string* events) const {
  JsonWriter json = BeginEvent(events);
  WriteEmptyChoice(choice_idx, &json);
  json.EndArray().Key("prompt_progress").BeginObject();
  json.Key("total").Int(progress.num_tokens).Key("cache").Int(progress.num_cached);
  json.Key("processed").Int(progress.num_done).Key("time_ms").Int(progress.elapsed_us / 1000);
  json.EndObject().EndObject();
  *events += "\n\n";
}

void Answer::AppendEnd(std::string* events) {
  if (request_.include_usage || request_.return_metrics) {
    JsonWriter json = BeginEvent(events);
    json.EndArray();
    if (request_.include_usage) {
      json.Key("usage");
      WriteTotalUsage(/*is_stream=*/true, &json);
    }
    if (wants_metrics()) {
      json.Key("metrics");
      WriteMetrics(&json);
    }
    json.EndObject();
    *events += "\n\n";
  }
  *events += "data: [DONE]\n\n";
}

void Answer::Add(int choice_idx, RequestOutput delta) {
  Count(choice_idx, delta);
  MergeOutput(std::move(delta), &choices_[choice_idx].sum);
}

std::string Answer::Whole() {
  std::string text;
  JsonWriter json(&text);
  json.BeginObject();
  json.Key("id").String(id_).Key("object").String(whole_object()).Key("created").Int(created_);
  json.Key("model").String(request_.model).Key("choices").BeginArray();
  for (int i = 0; i < num_choices(); ++i) WriteChoice(i, &json);
  json.EndArray().Key("service_tier").Null().Key("system_fingerprint").Null().Key("usage");
  WriteTotalUsage(/*is_stream=*/false, &json);
  WriteTail(&json);
  json.Key("kv_transfer_params").Null().Key("metrics");
  if (wants_metrics())
    WriteMetrics(&json);
  else
    json.Null();
  json.EndObject();
  return text;
}

JsonWriter Answer::BeginEvent(std::string* events) const {
  *events += "data: ";
  JsonWriter json(events);
  json.BeginObject();
  json.Key("id").String(id_).Key("object").String(stream_object()).Key("created").Int(created_);
  json.Key("model").String(request_.model).Key("choices").BeginArray();
  return json;
}

void Answer::EndEvent(int choice_idx, JsonWriter* json, std::string* events) const {
  json->EndArray();
  if (request_.continuous_usage_stats) {
    json->Key("usage");
    WriteUsage(static_cast<int64_t>(PromptOf(choice_idx).ids.size()), choices_[choice_idx].num_tokens,
               /*with_details=*/false, json);
  }
  json->EndObject();
  *events += "\n\n";
}

void Answer::WriteFinish(const RequestOutput& output, JsonWriter* json) const {
  json->Key("finish_reason");
  switch (output.finish_reason) {
    case FinishReason::kNone:
      json->Null();
      break;
    case FinishReason::kStop:
      json->String("stop");
      break;
    case FinishReason::kLength:
      json->String("length");
      break;
    case FinishReason::kAbort:
      json->String("abort");
      break;
    case FinishReason::kError:
      json->String("error");
      break;
  }
  json->Key("stop_reason");
  if (const auto* text = std::get_if<std::string>(&output.stop_reason))
    json->String(*text);
  else if (const auto* id = std::get_if<TokenId>(&output.stop_reason))
    json->Int(*id);
  else
    json->Null();
}

void Answer::WriteTokenIds(std::span<const TokenId> ids, JsonWriter* json) const {
  if (!request_.return_token_ids) {
    json->Null();
    return;
  }
  json->BeginArray();
  for (const TokenId id : ids) json->Int(id);
  json->EndArray();
}

void Answer::WriteUsage(int64_t prompt_tokens, int64_t completion_tokens, bool with_details,
                        JsonWriter* json) const {
  json->BeginObject();
  json->Key("prompt_tokens").Int(prompt_tokens).Key("total_tokens").Int(prompt_tokens + completion_tokens);
  json->Key("completion_tokens").Int(completion_tokens);
  if (with_details) {
    json->Key("prompt_tokens_details");
    if (options_.prompt_tokens_details) {
      json->BeginObject().Key("cached_tokens");
      json->Int(std::accumulate(num_cached_tokens_.begin(), num_cached_tokens_.end(), int64_t{0}))
          .EndObject();
    } else {
      json->Null();
    }
  }
  json->EndObject();
}

void Answer::WriteTotalUsage(bool is_stream, JsonWriter* json) const {
  int64_t prompt_tokens = 0, completion_tokens = 0;
  for (const TokenizedPrompt& prompt : prompts_) prompt_tokens += static_cast<int64_t>(prompt.ids.size());
  for (const Choice& choice : choices_) completion_tokens += choice.num_tokens;
  if (request_.max_tokens == 0)
    completion_tokens = 0;  // scoring only: the one token that was drawn is not returned
  WriteUsage(prompt_tokens, completion_tokens, !is_stream || options_.prompt_tokens_details, json);
}

// By the operator's flag, as in vLLM, answers of one choice only.
bool Answer::wants_metrics() const {
  return request_.return_metrics || (options_.per_request_metrics && num_choices() == 1);
}

void Answer::WriteMetrics(JsonWriter* json) const {
  if (num_choices() == 1) return WriteRequestMetrics(choices_[0].metrics, json);
  json->BeginArray();
  for (const Choice& choice : choices_) WriteRequestMetrics(choice.metrics, json);
  json->EndArray();
}

}  // namespace penstock
