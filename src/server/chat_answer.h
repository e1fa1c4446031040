// The answer of /v1/chat/completions.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/answer.h"

namespace penstock {

class ChatAnswer : public Answer {
 public:
  using Answer::Answer;

 private:
  void AppendChunkEvents(int choice_idx, const RequestOutput& delta, std::string* events) override;
  void WriteEmptyChoice(int choice_idx, JsonWriter* json) const override;
  std::string_view stream_object() const override { return "chat.completion.chunk"; }
  std::string_view whole_object() const override { return "chat.completion"; }
  void WriteChoice(int choice_idx, JsonWriter* json) override;
  void WriteTail(JsonWriter* json) override;

  void AppendRoleEvent(int choice_idx, std::string* events);
  void WriteLogprobs(const RequestOutput& output, JsonWriter* json) const;
};

}  // namespace penstock
