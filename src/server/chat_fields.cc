// Messages reach the template in the form that templates of Hugging Face models expect, as vLLM gives it:
// content as one string (text parts are joined by newlines), the arguments of tool calls as objects, a
// message's reasoning under both names that are in use. All other keys of a message pass as they are.
//
// Tools with tool_choice absent or "auto" are rendered into the prompt, and what the model answers is
// returned as plain content: there is no parser of tool calls.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/chat_fields.h"

#include <utility>

namespace penstock {
namespace {

std::string Where(size_t message_idx, std::string_view key) {
  return fmt::format("messages[{}].{}", message_idx, key);
}

// Parts of text to one string.
std::optional<ApiError> JoinParts(size_t message_idx, Json* content) {
  std::string text;
  bool first = true;
  for (const Json& part : *content) {
    const std::string where = Where(message_idx, "content");
    if (part.is_string()) {
      text += (first ? "" : "\n") + part.get_ref<const std::string&>();
    } else if (!part.is_object()) {
      return BadRequest("messages", "{}: a part must be an object", where);
    } else if (const auto type = part.find("type"); type != part.end() && *type != "text") {
      return BadRequest("messages", "{}: parts of type {} are not supported by this server, only text", where,
                        type->dump(-1, ' ', false, Json::error_handler_t::replace));
    } else if (const auto value = part.find("text"); value == part.end() || !value->is_string()) {
      return BadRequest("messages", "{}: a part of type \"text\" needs \"text\"", where);
    } else {
      text += (first ? "" : "\n") + value->get_ref<const std::string&>();
    }
    first = false;
  }
  *content = std::move(text);
  return std::nullopt;
}

// The arguments of each call: JSON in a string on the wire, an object for templates.
std::optional<ApiError> ExpandToolCalls(size_t message_idx, Json* calls) {
  const std::string where = Where(message_idx, "tool_calls");
  if (!calls->is_array()) return BadRequest("messages", "{} must be a list", where);
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      return BadRequest("messages", "{}: a call needs a \"function\" object", where);
    }
    Json& function = call["function"];
    if (!function.contains("arguments") || function["arguments"].is_null()) {
      function["arguments"] = Json::object();
    } else if (function["arguments"].is_string()) {
      const auto& text = function["arguments"].get_ref<const std::string&>();
      if (text.empty()) {
        function["arguments"] = Json::object();
      } else {
        Result<Json> arguments = ParseJson(text, where + ".function.arguments");
        if (!arguments.ok()) return BadRequest("messages", "{}", arguments.status().message());
        function["arguments"] = *std::move(arguments);
      }
    }
  }
  return std::nullopt;
}

std::optional<ApiError> NormaliseMessage(size_t idx, Json* message) {
  if (!message->is_object()) return BadRequest("messages", "messages[{}] must be an object", idx);
  if (!message->contains("role") || !(*message)["role"].is_string()) {
    return BadRequest("messages", "{} must be a string", Where(idx, "role"));
  }
  if (!message->contains("content")) (*message)["content"] = nullptr;
  Json& content = (*message)["content"];
  if (content.is_array()) {
    if (auto error = JoinParts(idx, &content)) return error;
  } else if (!content.is_string() && !content.is_null()) {
    return BadRequest("messages", "{} must be a string or a list of parts", Where(idx, "content"));
  } else if (content.is_null() && (*message)["role"] != "assistant") {
    return BadRequest("messages", "{} is required", Where(idx, "content"));
  }
  if (message->contains("tool_calls")) {
    Json& calls = (*message)["tool_calls"];
    if (calls.is_null() || (calls.is_array() && calls.empty()))
      message->erase("tool_calls");
    else if (auto error = ExpandToolCalls(idx, &calls))
      return error;
  }
  for (const auto& [from, to] :
       {std::pair("reasoning", "reasoning_content"), std::pair("reasoning_content", "reasoning")}) {
    if (message->contains(from) && !message->contains(to)) {
      Json reasoning = (*message)[from];
      (*message)[to] = std::move(reasoning);
    }
  }
  return std::nullopt;
}

std::optional<ApiError> CheckTools(const Json& tools) {
  if (!tools.is_array()) return BadRequest("tools", "tools must be a list");
  if (tools.empty()) {
    return BadRequest("tools",
                      "tools must not be an empty list: give at least one tool or leave the field out");
  }
  for (const Json& tool : tools) {
    const bool named = tool.is_object() && tool.contains("function") && tool["function"].is_object() &&
                       tool["function"].contains("name") && tool["function"]["name"].is_string();
    if (!named) return BadRequest("tools", "each tool needs a \"function\" with a \"name\"");
    if (tool.contains("type") && tool["type"] != "function") {
      return BadRequest("tools", "only tools of type \"function\" are supported");
    }
  }
  return std::nullopt;
}

void CheckToolChoice(bool has_tools, RequestFields* fields) {
  const std::optional<Json> choice = fields->Value("tool_choice");
  if (!choice || *choice == "none") return;
  if (*choice == "auto") {
    if (!has_tools) fields->Fail(BadRequest("tool_choice", "tool_choice needs tools"));
  } else if (*choice == "required" || choice->is_object()) {
    fields->Fail(BadRequest("tool_choice",
                            "tool_choice \"required\" or a named tool is not supported by this server"));
  } else {
    fields->Fail(BadRequest("tool_choice", "tool_choice must be \"none\" or \"auto\""));
  }
}

// chat_template_kwargs, and reasoning_effort where it is given: templates read it as a variable of that name,
// and "enable_thinking" follows from it unless it is set.
void ParseKwargs(RequestFields* fields, ChatTemplateInput* input) {
  input->kwargs = fields->Value("chat_template_kwargs");
  if (input->kwargs && !input->kwargs->is_object()) {
    fields->Fail(BadRequest("chat_template_kwargs", "chat_template_kwargs must be an object"));
    return;
  }
  const std::optional<std::string> effort = fields->String("reasoning_effort");
  if (!effort) return;
  if (!input->kwargs) input->kwargs = Json::object();
  if (!input->kwargs->contains("reasoning_effort")) (*input->kwargs)["reasoning_effort"] = *effort;
  if (!input->kwargs->contains("enable_thinking")) (*input->kwargs)["enable_thinking"] = *effort != "none";
}

}  // namespace

void ParseChatFields(RequestFields* fields, ChatTemplateInput* input) {
  std::optional<Json> messages = fields->Value("messages");
  if (fields->error()) return;
  if (!messages || !messages->is_array() || messages->empty()) {
    fields->Fail(BadRequest("messages", "messages must be a list that is not empty"));
    return;
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    if (auto error = NormaliseMessage(i, &(*messages)[i])) {
      fields->Fail(std::move(*error));
      return;
    }
  }
  input->messages = *std::move(messages);

  input->tools = fields->Value("tools");
  if (input->tools) {
    if (auto error = CheckTools(*input->tools)) fields->Fail(std::move(*error));
  }
  CheckToolChoice(input->tools.has_value(), fields);
  (void)fields->Bool("parallel_tool_calls");  // only its type: calls are not parsed

  const std::optional<bool> add_generation_prompt = fields->Bool("add_generation_prompt");
  input->continue_final_message = fields->Bool("continue_final_message").value_or(false);
  if (input->continue_final_message && add_generation_prompt.value_or(false)) {
    fields->Fail(BadRequest("continue_final_message",
                            "cannot set both continue_final_message and add_generation_prompt to true"));
  }
  input->add_generation_prompt = add_generation_prompt.value_or(!input->continue_final_message);
  ParseKwargs(fields, input);
}

}  // namespace penstock
