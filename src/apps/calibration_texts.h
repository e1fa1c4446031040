// CalibrationTexts: the texts by which a model is quantised, as token ids, from a file of the user's.
//
//   a text file      one text
//   JSON lines       {"text": "…"}, {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}
//   each
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace penstock {

struct CalibrationTextLimits {
  int64_t max_tokens = 0;  // of all texts
  int32_t max_len = 0;     // of one text: longer ones are cut into several
  int32_t vocab_size = 0;  // of the model
};

// One entry of the file: plain text, or messages for the chat template.
struct CalibrationEntry {
  std::string text;
  Json messages;  // null: text
};

// JSON lines if the file's first line is an object, else a text. kInvalidArgument naming `path` and the line
// for what is neither.
Result<std::vector<CalibrationEntry>> ParseCalibrationFile(const std::string& text, const std::string& path);

// The first tokens of the entries, in their order. `chat_template` may be null where no entry has messages.
// kInvalidArgument where there is not one token, or one that the model does not know.
Result<std::vector<std::vector<int32_t>>> TokeniseCalibration(const std::vector<CalibrationEntry>& entries,
                                                              const Tokenizer& tokenizer,
                                                              const ChatTemplate* chat_template,
                                                              const CalibrationTextLimits& limits);

}  // namespace penstock
