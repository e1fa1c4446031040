// The first event of a choice carries the role and nothing else, as with OpenAI and vLLM; it is made together
// with the first increment and not before, because load generators stamp the time to the first token on it.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/chat_answer.h"

namespace penstock {

void ChatAnswer::AppendRoleEvent(int choice_idx, std::string* events) {
  JsonWriter json = BeginEvent(events);
  json.BeginObject().Key("index").Int(choice_idx);
  json.Key("delta").BeginObject().Key("role").String("assistant").Key("content").String("").EndObject();
  json.Key("logprobs").Null().Key("finish_reason").Null().EndObject();
  json.EndArray();
  if (request_.return_token_ids) {
    json.Key("prompt_token_ids");
    WriteTokenIds(PromptOf(choice_idx).ids, &json);
  }
  if (request_.continuous_usage_stats) {
    const auto prompt_tokens = static_cast<int64_t>(PromptOf(choice_idx).ids.size());
    json.Key("usage").BeginObject().Key("prompt_tokens").Int(prompt_tokens);
    json.Key("total_tokens").Int(prompt_tokens).Key("completion_tokens").Int(0).EndObject();
  }
  json.EndObject();
  *events += "\n\n";
}

void ChatAnswer::AppendChunkEvents(int choice_idx, const RequestOutput& delta, std::string* events) {
  const bool finished = delta.finish_reason != FinishReason::kNone;
  if (delta.text.empty() && delta.token_ids.empty() && !finished) return;
  if (!choices_[choice_idx].started) {
    choices_[choice_idx].started = true;
    AppendRoleEvent(choice_idx, events);
  }
  JsonWriter json = BeginEvent(events);
  json.BeginObject().Key("index").Int(choice_idx);
  json.Key("delta").BeginObject().Key("content").String(delta.text).EndObject().Key("logprobs");
  WriteLogprobs(delta, &json);
  if (finished)
    WriteFinish(delta, &json);
  else
    json.Key("finish_reason").Null();
  json.Key("token_ids");
  WriteTokenIds(delta.token_ids, &json);
  json.EndObject();
  EndEvent(choice_idx, &json, events);
}

void ChatAnswer::WriteEmptyChoice(int choice_idx, JsonWriter* json) const {
  json->BeginObject().Key("index").Int(choice_idx);
  json->Key("delta").BeginObject().Key("role").String("assistant").Key("content").Null().EndObject();
  json->Key("logprobs").Null().Key("finish_reason").Null().EndObject();
}

void ChatAnswer::WriteLogprobs(const RequestOutput& output, JsonWriter* json) const {
  if (request_.logprobs)
    logprobs_.Chat(output.logprobs, *request_.logprobs, json);
  else
    json->Null();
}

void ChatAnswer::WriteChoice(int choice_idx, JsonWriter* json) {
  const RequestOutput& output = choices_[choice_idx].sum;
  json->BeginObject().Key("index").Int(choice_idx).Key("message").BeginObject();
  json->Key("role").String("assistant").Key("content").String(output.text);
  for (const char* key : {"refusal", "annotations", "audio", "function_call", "reasoning"})
    json->Key(key).Null();
  json->EndObject().Key("logprobs");
  WriteLogprobs(output, json);
  WriteFinish(output, json);
  json->Key("token_ids");
  WriteTokenIds(output.token_ids, json);
  json->EndObject();
}

void ChatAnswer::WriteTail(JsonWriter* json) {
  json->Key("prompt_logprobs");
  if (request_.prompt_logprobs)
    logprobs_.Prompt(choices_[0].sum.prompt_logprobs, json);
  else
    json->Null();
  json->Key("prompt_token_ids");
  WriteTokenIds(prompts_[0].ids, json);
}

}  // namespace penstock
