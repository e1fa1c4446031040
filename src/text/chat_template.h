// ChatTemplate: a conversation to prompt text, by the Jinja template of the model directory. A closed
// interpreter: a template can compute text and nothing else.
//
// Thread-safe once loaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

struct ChatTemplateInput {
  Json messages;               // array of {"role": …, "content": …, …}
  std::optional<Json> tools;   // array, as the client sent it
  std::optional<Json> kwargs;  // object: chat_template_kwargs, e.g. {"enable_thinking": false}
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

class ChatTemplate {
 public:
  // The template of DIR: chat_template.jinja, or "chat_template" of tokenizer_config.json. kNotFound if
  // neither has one. `bos_token` and `eos_token` are given to the template.
  static Result<std::unique_ptr<ChatTemplate>> Load(const std::string& model_dir);
  // A template given by the operator (--chat-template: a file's text).
  static Result<std::unique_ptr<ChatTemplate>> FromText(std::string text, std::string bos_token,
                                                        std::string eos_token);
  virtual ~ChatTemplate() = default;

  // kInvalidArgument where the template refuses (raise_exception), kwargs hold a reserved name, or the limits
  // on steps, depth or size of output are passed.
  virtual Result<std::string> Render(const ChatTemplateInput& input) const = 0;
};

}  // namespace penstock
