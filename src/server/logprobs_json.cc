// SPDX-License-Identifier: Apache-2.0
#include "server/logprobs_json.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace penstock {
namespace {

constexpr float kLeastLogprob = -9999.0f;

float Printable(float logprob) { return logprob > kLeastLogprob ? logprob : kLeastLogprob; }  // also for NaN

void WriteChatToken(const std::string& text, float logprob, JsonWriter* json) {
  json->Key("token").String(text).Key("logprob").Float(Printable(logprob)).Key("bytes").BeginArray();
  for (const char byte : text) json->Int(static_cast<unsigned char>(byte));
  json->EndArray();
}

}  // namespace

std::string LogprobsPrinter::TokenText(TokenId id) const {
  if (as_token_ids_) return fmt::format("token_id:{}", id);
  Result<std::string> text = tokenizer_.Decode(std::span(&id, 1), /*skip_special_tokens=*/false);
  return text.ok() ? *std::move(text) : std::string();
}

void LogprobsPrinter::Chat(std::span<const PositionLogprobs> positions, int32_t num_top,
                           JsonWriter* json) const {
  json->BeginObject().Key("content").BeginArray();
  for (const PositionLogprobs& position : positions) {
    json->BeginObject();
    WriteChatToken(TokenText(position.chosen.id), position.chosen.logprob, json);
    json->Key("top_logprobs").BeginArray();
    for (size_t i = 0; i < position.top.size() && i < static_cast<size_t>(num_top); ++i) {
      json->BeginObject();
      WriteChatToken(TokenText(position.top[i].id), position.top[i].logprob, json);
      json->EndObject();
    }
    json->EndArray().EndObject();
  }
  json->EndArray().EndObject();
}

// An object by token text: the most likely ones, and the chosen one if it is not among them. Of tokens with
// the same text the more likely one is printed.
void LogprobsPrinter::TopOfCompletion(const PositionLogprobs& position, int32_t num_top,
                                      JsonWriter* json) const {
  std::vector<std::string> seen;
  const auto add = [&](const TokenLogprob& token) {
    std::string text = TokenText(token.id);
    if (std::find(seen.begin(), seen.end(), text) != seen.end()) return;
    json->Key(text).Float(Printable(token.logprob));
    seen.push_back(std::move(text));
  };
  json->BeginObject();
  for (size_t i = 0; i < position.top.size() && i < static_cast<size_t>(num_top); ++i) add(position.top[i]);
  add(position.chosen);
  json->EndObject();
}

void LogprobsPrinter::Completion(std::span<const TokenId> echoed,
                                 std::span<const PositionLogprobs> echoed_logprobs,
                                 std::span<const PositionLogprobs> positions, int32_t num_top,
                                 int64_t text_offset, JsonWriter* json) const {
  // Entry by entry: the token, and its log-probabilities where there are some.
  std::vector<std::pair<std::string, const PositionLogprobs*>> entries;
  entries.reserve(echoed.size() + positions.size());
  for (size_t i = 0; i < echoed.size(); ++i) {
    const bool known = i > 0 && i - 1 < echoed_logprobs.size();
    entries.emplace_back(TokenText(echoed[i]), known ? &echoed_logprobs[i - 1] : nullptr);
  }
  for (const PositionLogprobs& position : positions)
    entries.emplace_back(TokenText(position.chosen.id), &position);

  json->BeginObject().Key("text_offset").BeginArray();
  for (const auto& [text, position] : entries) {
    json->Int(text_offset);
    text_offset += CountCharacters(text);
  }
  json->EndArray().Key("token_logprobs").BeginArray();
  for (const auto& [text, position] : entries) {
    if (position)
      json->Float(Printable(position->chosen.logprob));
    else
      json->Null();
  }
  json->EndArray().Key("tokens").BeginArray();
  for (const auto& [text, position] : entries) json->String(text);
  json->EndArray().Key("top_logprobs").BeginArray();
  for (const auto& [text, position] : entries) {
    if (position)
      TopOfCompletion(*position, num_top, json);
    else
      json->Null();
  }
  json->EndArray().EndObject();
}

void LogprobsPrinter::Prompt(std::span<const PositionLogprobs> positions, JsonWriter* json) const {
  json->BeginArray().Null();
  for (const PositionLogprobs& position : positions) {
    json->BeginObject();
    const auto add = [&](const TokenLogprob& token) {
      json->Key(std::to_string(token.id)).BeginObject();
      json->Key("logprob").Float(Printable(token.logprob)).Key("rank").Int(token.rank);
      json->Key("decoded_token").String(TokenText(token.id)).EndObject();
    };
    add(position.chosen);
    for (const TokenLogprob& token : position.top) {
      if (token.id != position.chosen.id) add(token);
    }
    json->EndObject();
  }
  json->EndArray();
}

}  // namespace penstock
