// The answer of /v1/completions.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/answer.h"

namespace penstock {

class CompletionAnswer : public Answer {
 public:
  using Answer::Answer;

 private:
  void AppendChunkEvents(int choice_idx, const RequestOutput& delta, std::string* events) override;
  void WriteEmptyChoice(int choice_idx, JsonWriter* json) const override;
  std::string_view stream_object() const override { return "text_completion"; }
  std::string_view whole_object() const override { return "text_completion"; }
  void WriteChoice(int choice_idx, JsonWriter* json) override;
  void WriteTail(JsonWriter*) override {}

  // "text" and "logprobs" of an increment; the first one of a choice begins with the prompt where it is
  // echoed.
  void WriteTextAndLogprobs(int choice_idx, const RequestOutput& output, JsonWriter* json);
  void WriteFinishOf(const RequestOutput& output, JsonWriter* json) const;
};

}  // namespace penstock
