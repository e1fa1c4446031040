// SPDX-License-Identifier: Apache-2.0
#include "apps/calibration_texts.h"

#include <algorithm>
#include <string_view>

namespace penstock {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

bool IsBlank(std::string_view text) { return text.find_first_not_of(kBlanks) == text.npos; }

// The next line of `rest`, which is cut off it.
std::string_view TakeLine(std::string_view& rest) {
  const size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  return line;
}

bool IsJsonLines(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = TakeLine(text);
    if (IsBlank(line)) continue;
    const Result<Json> json = ParseJson(line, "");
    return json.ok() && json->is_object();
  }
  return false;
}

Result<CalibrationEntry> ParseEntry(const Json& json, const std::string& what) {
  if (!json.is_object()) return InvalidArgument("{}: not a JSON object", what);
  for (const char* key : {"text", "prompt"}) {
    const auto found = json.find(key);
    if (found == json.end()) continue;
    if (!found->is_string()) return InvalidArgument("{}: \"{}\" is not a string", what, key);
    return CalibrationEntry{found->get<std::string>(), {}};
  }
  const auto messages = json.find("messages");
  if (messages == json.end()) {
    return InvalidArgument("{}: expected one of \"text\", \"prompt\" and \"messages\"", what);
  }
  if (!messages->is_array() || messages->empty()) {
    return InvalidArgument("{}: \"messages\" is not an array of messages", what);
  }
  return CalibrationEntry{"", *messages};
}

Result<std::vector<int32_t>> Encode(const CalibrationEntry& entry, const Tokenizer& tokenizer,
                                    const ChatTemplate* chat_template) {
  if (entry.messages.is_null()) return tokenizer.Encode(entry.text, /*add_special_tokens=*/true);
  if (chat_template == nullptr) {
    return InvalidArgument("--calibration-data has \"messages\", and the model has no chat template");
  }
  ChatTemplateInput input;
  input.messages = entry.messages;
  input.add_generation_prompt = false;
  ASSIGN_OR_RETURN(const std::string text, chat_template->Render(input));
  return tokenizer.Encode(text, /*add_special_tokens=*/false);
}

}  // namespace

Result<std::vector<CalibrationEntry>> ParseCalibrationFile(const std::string& text, const std::string& path) {
  if (IsBlank(text)) return InvalidArgument("{}: there is no text in it", path);
  if (!IsJsonLines(text)) return std::vector<CalibrationEntry>{{text, {}}};
  std::vector<CalibrationEntry> entries;
  std::string_view rest = text;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const std::string_view line = TakeLine(rest);
    if (IsBlank(line)) continue;
    const std::string what = fmt::format("{}: line {}", path, line_number);
    ASSIGN_OR_RETURN(const Json json, ParseJson(line, what));
    ASSIGN_OR_RETURN(CalibrationEntry entry, ParseEntry(json, what));
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<std::vector<int32_t>>> TokeniseCalibration(const std::vector<CalibrationEntry>& entries,
                                                              const Tokenizer& tokenizer,
                                                              const ChatTemplate* chat_template,
                                                              const CalibrationTextLimits& limits) {
  std::vector<std::vector<int32_t>> texts;
  int64_t left = limits.max_tokens;
  for (const CalibrationEntry& entry : entries) {
    if (left == 0) break;
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, Encode(entry, tokenizer, chat_template));
    for (size_t begin = 0; begin < ids.size() && left > 0;) {
      const auto count = std::min({static_cast<int64_t>(ids.size() - begin), int64_t{limits.max_len}, left});
      const auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
      texts.emplace_back(first, first + count);
      begin += static_cast<size_t>(count);
      left -= count;
    }
  }
  if (texts.empty()) return InvalidArgument("--calibration-data: there is not one token in it");
  for (const auto& text : texts) {
    const auto unknown = std::ranges::find_if(text, [&](int32_t id) { return id >= limits.vocab_size; });
    if (unknown == text.end()) continue;
    return InvalidArgument("tokenizer: token id {}, expected less than vocab_size = {} of config.json",
                           *unknown, limits.vocab_size);
  }
  return texts;
}

}  // namespace penstock
