// With echo and max_tokens 0 a prompt is only scored: the engine draws one token all the same, which is not
// printed.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/completion_answer.h"

namespace penstock {

void CompletionAnswer::WriteTextAndLogprobs(int choice_idx, const RequestOutput& output, JsonWriter* json) {
  Choice& choice = choices_[choice_idx];
  const TokenizedPrompt& prompt = PromptOf(choice_idx);
  const bool echoes = request_.echo && !choice.started;
  const bool scores_only = request_.max_tokens == 0;
  choice.started = true;

  std::string text = echoes ? prompt.text : std::string();
  if (!scores_only) text += output.text;
  json->Key("text").String(text).Key("logprobs");
  if (request_.logprobs) {
    std::span<const PositionLogprobs> generated = output.logprobs;
    if (scores_only) generated = {};
    logprobs_.Completion(echoes ? std::span<const TokenId>(prompt.ids) : std::span<const TokenId>(),
                         output.prompt_logprobs, generated, *request_.logprobs, choice.text_chars, json);
  } else {
    json->Null();
  }
  choice.text_chars += CountCharacters(text);
}

void CompletionAnswer::WriteFinishOf(const RequestOutput& output, JsonWriter* json) const {
  if (request_.max_tokens == 0 && output.finish_reason == FinishReason::kStop) {
    json->Key("finish_reason").String("length").Key("stop_reason").Null();
  } else {
    WriteFinish(output, json);
  }
}

void CompletionAnswer::AppendChunkEvents(int choice_idx, const RequestOutput& delta, std::string* events) {
  if (delta.text.empty() && delta.token_ids.empty() && delta.finish_reason == FinishReason::kNone) return;
  const bool first = !choices_[choice_idx].started;
  JsonWriter json = BeginEvent(events);
  json.BeginObject().Key("index").Int(choice_idx);
  WriteTextAndLogprobs(choice_idx, delta, &json);
  WriteFinishOf(delta, &json);
  json.Key("prompt_token_ids");
  if (first)
    WriteTokenIds(PromptOf(choice_idx).ids, &json);
  else
    json.Null();
  json.Key("token_ids");
  WriteTokenIds(request_.max_tokens == 0 ? std::span<const TokenId>() : delta.token_ids, &json);
  json.EndObject();
  EndEvent(choice_idx, &json, events);
}

void CompletionAnswer::WriteEmptyChoice(int choice_idx, JsonWriter* json) const {
  json->BeginObject().Key("index").Int(choice_idx).Key("text").String("").Key("logprobs").Null();
  json->Key("finish_reason").Null().EndObject();
}

void CompletionAnswer::WriteChoice(int choice_idx, JsonWriter* json) {
  const RequestOutput& output = choices_[choice_idx].sum;
  json->BeginObject().Key("index").Int(choice_idx);
  WriteTextAndLogprobs(choice_idx, output, json);
  WriteFinishOf(output, json);
  json->Key("token_ids");
  WriteTokenIds(request_.max_tokens == 0 ? std::span<const TokenId>() : output.token_ids, json);
  json->Key("prompt_logprobs");
  if (request_.prompt_logprobs)
    logprobs_.Prompt(output.prompt_logprobs, json);
  else
    json->Null();
  json->Key("prompt_token_ids");
  WriteTokenIds(PromptOf(choice_idx).ids, json);
  json->EndObject();
}

}  // namespace penstock
