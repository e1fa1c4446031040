// SPDX-License-Identifier: Apache-2.0
#include "apps/chat_setup.h"

#include <utility>

namespace penstock {
namespace {

class DefaultKwargsTemplate : public ChatTemplate {
 public:
  DefaultKwargsTemplate(std::unique_ptr<ChatTemplate> inner, Json kwargs)
      : inner_(std::move(inner)), kwargs_(std::move(kwargs)) {}

  Result<std::string> Render(const ChatTemplateInput& input) const override {
    ChatTemplateInput merged = input;
    merged.kwargs = kwargs_;
    if (input.kwargs) merged.kwargs->update(*input.kwargs);
    return inner_->Render(merged);
  }

 private:
  const std::unique_ptr<ChatTemplate> inner_;
  const Json kwargs_;
};

// As vLLM: what cannot be opened and looks like a template is one.
Result<std::string> ReadTemplateFlag(const std::string& flag) {
  Result<std::string> text = ReadTextFile(flag);
  if (text.ok() || flag.find_first_of("{}\n") == std::string::npos) return text;
  return flag;
}

}  // namespace

std::unique_ptr<ChatTemplate> WithDefaultKwargs(std::unique_ptr<ChatTemplate> inner, Json default_kwargs) {
  return std::make_unique<DefaultKwargsTemplate>(std::move(inner), std::move(default_kwargs));
}

Result<std::unique_ptr<ChatTemplate>> MakeChatTemplate(const std::string& model_dir, const std::string& flag,
                                                       const Json& default_kwargs,
                                                       const Tokenizer& tokenizer) {
  if (!default_kwargs.is_null() && !default_kwargs.is_object()) {
    return InvalidArgument("--default-chat-template-kwargs: got {}, expected a JSON object",
                           default_kwargs.dump());
  }
  std::unique_ptr<ChatTemplate> made;
  if (flag.empty()) {
    Result<std::unique_ptr<ChatTemplate>> own = ChatTemplate::Load(model_dir);
    if (!own.ok()) {
      if (own.status().code() == StatusCode::kNotFound) return std::unique_ptr<ChatTemplate>();
      return own.status();
    }
    made = *std::move(own);
  } else {
    Result<std::string> text = ReadTemplateFlag(flag);
    if (!text.ok()) return text.status().WithContext("--chat-template");
    Result<std::unique_ptr<ChatTemplate>> given = ChatTemplate::FromText(
        *std::move(text), tokenizer.bos_token().value_or(""), tokenizer.eos_token().value_or(""));
    if (!given.ok()) return given.status().WithContext("--chat-template");
    made = *std::move(given);
  }
  if (default_kwargs.is_null() || default_kwargs.empty()) return made;
  return WithDefaultKwargs(std::move(made), default_kwargs);
}

}  // namespace penstock
