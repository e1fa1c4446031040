// transformers' apply_chat_template: which template, what it sees, and how a last message is continued.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/template.h"
#include "text/jinja/unicode.h"
#include "text/tokenizer_config.h"

namespace penstock {
namespace {

// What is not the client's to set by chat_template_kwargs: the conversation itself, and the arguments of
// apply_chat_template.
constexpr std::array<std::string_view, 18> kReservedNames = {"messages",
                                                             "conversation",
                                                             "conversations",
                                                             "chat",
                                                             "tools",
                                                             "documents",
                                                             "chat_template",
                                                             "tokenizer",
                                                             "tokenize",
                                                             "padding",
                                                             "truncation",
                                                             "max_length",
                                                             "return_tensors",
                                                             "return_dict",
                                                             "add_generation_prompt",
                                                             "continue_final_message",
                                                             "tokenizer_kwargs",
                                                             "return_assistant_tokens_mask"};

// The names under which messages carry reasoning; the first is what templates read.
constexpr std::array<const char*, 3> kReasoningNames = {"reasoning_content", "thinking", "reasoning"};

constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG";

const Json* FindField(const Json& message, const char* name) {
  const auto found = message.find(name);
  return found == message.end() || found->is_null() ? nullptr : &*found;
}

const Json* FindReasoning(const Json& message) {
  for (const char* name : kReasoningNames) {
    if (const Json* reasoning = FindField(message, name); reasoning != nullptr) return reasoning;
  }
  return nullptr;
}

// {"thinking": reasoning, **message, "reasoning_content": reasoning}
Json WithReasoningNames(const Json& message, const Json& reasoning) {
  Json result = {{"thinking", reasoning}};
  for (const auto& [key, value] : message.items()) result[key] = value;
  result["reasoning_content"] = reasoning;
  return result;
}

Status CheckMessages(const Json& messages) {
  if (!messages.is_array()) return InvalidArgument("messages: {}, expected an array", messages.type_name());
  if (messages.empty()) return InvalidArgument("messages: empty, expected at least one message");
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object())
      return InvalidArgument("messages[{}]: {}, expected an object", i, messages[i].type_name());
  }
  return OkStatus();
}

Status CheckKwargs(const Json& kwargs) {
  if (!kwargs.is_object())
    return InvalidArgument("chat_template_kwargs: {}, expected an object", kwargs.type_name());
  for (const auto& [name, value] : kwargs.items()) {
    if (std::ranges::find(kReservedNames, name) != kReservedNames.end()) {
      return InvalidArgument("chat_template_kwargs: '{}' is reserved", name);
    }
  }
  return OkStatus();
}

// Marks the end of the last message's content in `messages`; returns the content.
Result<std::string> MarkFinalMessage(Json& messages) {
  Json& message = messages.back();
  if (FindField(message, "content") == nullptr) {
    return InvalidArgument("continue_final_message: the last message has no \"content\" to continue");
  }
  Json* text = &message["content"];
  if (text->is_array()) {
    const auto last = std::find_if(text->rbegin(), text->rend(), [](const Json& part) {
      return part.is_object() && part.contains("text");
    });
    if (last == text->rend())
      return InvalidArgument("continue_final_message: the last message has no text to continue");
    text = &(*last)["text"];
  }
  if (!text->is_string()) {
    return InvalidArgument("continue_final_message: the last message's text is {}, expected a string",
                           text->type_name());
  }
  std::string content = text->get<std::string>();
  *text = content + std::string(kContinueTag);
  return content;
}

// Cuts the rendered text where the mark is: there the model goes on.
Result<std::string> CutAtMark(std::string text, std::string_view content) {
  const size_t mark = text.rfind(kContinueMark);
  const std::string_view stripped = jinja::StripRight(jinja::StripLeft(content, nullptr), nullptr);
  if (mark == std::string::npos || text.find(stripped) == std::string::npos) {
    return InvalidArgument(
        "continue_final_message: the chat template does not render the last message as it is");
  }
  const bool spacing_kept = std::string_view(text).substr(mark).starts_with(kContinueTag);
  text.resize(mark);
  if (!spacing_kept) text.resize(jinja::StripRight(text, nullptr).size());
  return text;
}

struct NamedTemplate {
  std::string source;
  jinja::Template parsed;
};

Result<NamedTemplate> ParseNamed(std::string source) {
  ASSIGN_OR_RETURN(jinja::Template parsed, jinja::Template::Parse(source));
  return NamedTemplate{std::move(source), std::move(parsed)};
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  // `special_tokens`: an object of the tokens that the template sees.
  JinjaChatTemplate(NamedTemplate main, std::optional<NamedTemplate> with_tools, Json special_tokens)
      : main_(std::move(main)),
        with_tools_(std::move(with_tools)),
        special_tokens_(std::move(special_tokens)) {}

  Result<std::string> Render(const ChatTemplateInput& input) const override {
    RETURN_IF_ERROR(CheckMessages(input.messages));
    if (input.kwargs) RETURN_IF_ERROR(CheckKwargs(*input.kwargs));
    if (input.tools && !input.tools->is_array() && !input.tools->is_null()) {
      return InvalidArgument("tools: {}, expected an array", input.tools->type_name());
    }
    if (input.continue_final_message && input.add_generation_prompt) {
      return InvalidArgument("continue_final_message and add_generation_prompt cannot both be true");
    }
    const bool has_tools = input.tools && !input.tools->is_null();
    const NamedTemplate& chosen = has_tools && with_tools_ ? *with_tools_ : main_;

    // A copy only where something is to be changed: messages can be large.
    std::optional<Json> changed;
    for (size_t i = 0; i < input.messages.size(); ++i) {
      const Json* reasoning = FindReasoning(input.messages[i]);
      if (reasoning == nullptr) continue;
      if (!changed) changed = input.messages;
      (*changed)[i] = WithReasoningNames(input.messages[i], *reasoning);
    }
    if (!input.continue_final_message) return RenderWith(chosen, input, changed ? *changed : input.messages);

    if (chosen.source.find("content") == std::string::npos) {
      return InvalidArgument("continue_final_message: the chat template does not use \"content\"");
    }
    if (!changed) changed = input.messages;
    ASSIGN_OR_RETURN(const std::string content, MarkFinalMessage(*changed));
    ASSIGN_OR_RETURN(std::string text, RenderWith(chosen, input, *changed));
    return CutAtMark(std::move(text), content);
  }

 private:
  Result<std::string> RenderWith(const NamedTemplate& chosen, const ChatTemplateInput& input,
                                 const Json& messages) const {
    const Json none, add_generation_prompt(input.add_generation_prompt);
    std::vector<std::pair<std::string, const Json*>> variables;
    for (const auto& [name, token] : special_tokens_.items()) variables.emplace_back(name, &token);
    if (input.kwargs) {
      for (const auto& [name, value] : input.kwargs->items()) variables.emplace_back(name, &value);
    }
    variables.emplace_back("messages", &messages);
    variables.emplace_back("tools", input.tools ? &*input.tools : &none);
    variables.emplace_back("documents", &none);
    variables.emplace_back("add_generation_prompt", &add_generation_prompt);
    return chosen.parsed.Render(variables, std::time(nullptr));
  }

  const NamedTemplate main_;
  const std::optional<NamedTemplate> with_tools_;  // "tool_use"
  const Json special_tokens_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::string& model_dir) {
  ASSIGN_OR_RETURN(TokenizerConfig config, ReadTokenizerConfig(model_dir));
  const std::string file = model_dir + "/chat_template.jinja";
  std::string path = model_dir + "/tokenizer_config.json";
  Result<std::string> text = ReadTextFile(file);
  if (text.ok()) {
    path = file;
    config.chat_templates = {{"default", *std::move(text)}};
  } else if (text.status().code() != StatusCode::kNotFound) {
    return text.status();
  }
  if (config.chat_templates.empty()) {
    return NotFound("{}: no chat_template.jinja, and no \"chat_template\" in tokenizer_config.json",
                    model_dir);
  }

  std::optional<NamedTemplate> main, with_tools;
  for (auto& [name, source] : config.chat_templates) {
    if (name != "default" && name != "tool_use") continue;
    Result<NamedTemplate> named = ParseNamed(std::move(source));
    if (!named.ok()) return named.status().WithContext(path);
    (name == "default" ? main : with_tools) = *std::move(named);
  }
  if (!main) return InvalidArgument("{}: chat_template: no template is named \"default\"", path);
  Json special_tokens = Json::object();
  for (auto& [name, token] : config.special_tokens) special_tokens[name] = std::move(token);
  return std::unique_ptr<ChatTemplate>(std::make_unique<JinjaChatTemplate>(
      *std::move(main), std::move(with_tools), std::move(special_tokens)));
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::FromText(std::string text, std::string bos_token,
                                                             std::string eos_token) {
  ASSIGN_OR_RETURN(NamedTemplate main, ParseNamed(std::move(text)));
  Json special_tokens = Json::object();
  if (!bos_token.empty()) special_tokens["bos_token"] = std::move(bos_token);
  if (!eos_token.empty()) special_tokens["eos_token"] = std::move(eos_token);
  return std::unique_ptr<ChatTemplate>(
      std::make_unique<JinjaChatTemplate>(std::move(main), std::nullopt, std::move(special_tokens)));
}

}  // namespace penstock
