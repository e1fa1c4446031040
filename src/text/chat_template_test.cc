// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "text/testdata.h"

namespace penstock {
namespace {

Json Parse(std::string_view text) { return *ParseJson(text, "test"); }

std::unique_ptr<ChatTemplate> FromText(const std::string& text) {
  Result<std::unique_ptr<ChatTemplate>> chat_template = ChatTemplate::FromText(text, "<BOS>", "<EOS>");
  CHECK(chat_template.ok()) << chat_template.status().message();
  return *std::move(chat_template);
}

ChatTemplateInput Input(std::string_view messages) {
  ChatTemplateInput input;
  input.messages = Parse(messages);
  return input;
}

TEST(ChatTemplate, RendersConversationsAsTransformers) {
  const Json goldens = *ReadJsonFile(TestdataPath("chat_goldens.json"));
  ASSERT_GE(goldens["cases"].size(), 200u);
  int num_texts = 0;
  for (const Json& golden : goldens["cases"]) {
    const auto chat_template =
        FromText(*ReadTextFile(TestdataPath("templates/" + golden["template"].get<std::string>())));
    ChatTemplateInput input;
    input.messages = goldens["conversations"][golden["conversation"].get<std::string>()];
    if (golden["tools"]) input.tools = goldens["tools"];
    if (!golden["kwargs"].empty()) input.kwargs = golden["kwargs"];
    input.add_generation_prompt = golden["add_generation_prompt"];
    input.continue_final_message = golden.contains("continue_final_message");
    const Result<std::string> text = chat_template->Render(input);
    Json what = golden;
    what.erase("text");
    if (golden.contains("text")) {
      EXPECT_EQ(text.ok() ? *text : "error: " + text.status().message(), golden["text"].get<std::string>())
          << what;
      ++num_texts;
    } else {
      EXPECT_FALSE(text.ok()) << what << *text;
      if (!text.ok()) {
        EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument);
      }
    }
  }
  EXPECT_GT(num_texts, 150);
}

TEST(ChatTemplate, ReservedNamesAreRefused) {
  const auto chat_template = FromText("{{ messages[0].content }}{{ extra }}");
  ChatTemplateInput input = Input(R"([{"role": "user", "content": "hi"}])");
  for (const char* name : {"messages", "tools", "chat_template", "tokenizer", "tokenize",
                           "add_generation_prompt", "continue_final_message", "documents", "conversation"}) {
    input.kwargs = Json{{"extra", 1}, {name, "evil"}};
    const Status status = chat_template->Render(input).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_NE(status.message().find(name), std::string::npos);
  }
  input.kwargs = Json{{"extra", " there"}};
  EXPECT_EQ(*chat_template->Render(input), "hi there");
}

TEST(ChatTemplate, WrongInputIsRefused) {
  const auto chat_template = FromText("{{ messages | length }}");
  for (const char* messages : {"[]", "{}", "null", "3", R"(["text"])", R"([{"role": "user"}, null])"}) {
    EXPECT_EQ(chat_template->Render(Input(messages)).status().code(), StatusCode::kInvalidArgument)
        << messages;
  }
  ChatTemplateInput input = Input(R"([{"role": "user", "content": "x"}])");
  EXPECT_TRUE(chat_template->Render(input).ok());
  input.kwargs = Parse("[1]");
  EXPECT_FALSE(chat_template->Render(input).ok());
  input.kwargs = std::nullopt;
  input.tools = Parse(R"({"a": 1})");
  EXPECT_FALSE(chat_template->Render(input).ok());
  input.tools = std::nullopt;
  input.continue_final_message = true;  // beside add_generation_prompt
  EXPECT_FALSE(chat_template->Render(input).ok());
}

TEST(ChatTemplate, WhatTheTemplateRefusesIsSaid) {
  const auto chat_template = FromText("{{ raise_exception('roles must alternate') }}");
  const Status status = chat_template->Render(Input(R"([{"role": "user", "content": "x"}])")).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "roles must alternate");
}

TEST(ChatTemplate, ContinuesTheFinalMessage) {
  const auto render = [](const std::string& text, std::string_view messages) {
    ChatTemplateInput input = Input(messages);
    input.add_generation_prompt = false;
    input.continue_final_message = true;
    return FromText(text)->Render(input);
  };
  const std::string keeps = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";
  const std::string trims = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}";
  const std::string messages =
      R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": " The answer is \n"}])";
  EXPECT_EQ(*render(keeps, messages), "<user>q</><assistant> The answer is \n");
  EXPECT_EQ(*render(trims, messages), "<user>q</><assistant>The answer is");
  const std::string parts =
      R"([{"role": "assistant", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}, {"type": "image"}]}])";
  EXPECT_EQ(*render("{% for p in messages[0].content %}[{{ p.text }}]{% endfor %}", parts), "[one][two");
  EXPECT_FALSE(render("{{ messages[0].role }} content", messages).ok());  // the text is not shown
  EXPECT_FALSE(render("{{ messages[0].role }}", messages).ok());          // nor used
  EXPECT_FALSE(render(keeps, R"([{"role": "assistant", "content": null}])").ok());
  EXPECT_FALSE(render(keeps, R"([{"role": "assistant", "content": [{"type": "image"}]}])").ok());
  EXPECT_FALSE(render(keeps, R"([{"role": "assistant", "content": 5}])").ok());
  // A mark that a client writes itself does not help: the last one counts, and that is ours.
  EXPECT_EQ(*render(keeps, R"([{"role": "assistant", "content": "CONTINUE_FINAL_MESSAGE_TAG x"}])"),
            "<assistant>CONTINUE_FINAL_MESSAGE_TAG x");
}

TEST(ChatTemplate, ReasoningHasAllItsNames) {
  const auto chat_template = FromText("{{ messages[0] | tojson }}");
  EXPECT_EQ(
      *chat_template->Render(Input(R"([{"role": "assistant", "reasoning": "r", "content": "c"}])")),
      R"({"thinking": "r", "role": "assistant", "reasoning": "r", "content": "c", "reasoning_content": "r"})");
  EXPECT_EQ(
      *chat_template->Render(Input(R"([{"role": "assistant", "reasoning_content": null, "content": "c"}])")),
      R"({"role": "assistant", "reasoning_content": null, "content": "c"})");
}

TEST(ChatTemplate, SeesSpecialTokensAndNothingElse) {
  const ChatTemplateInput input = Input(R"([{"role": "user", "content": "x"}])");
  EXPECT_EQ(
      *FromText("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ tools is none }}{{ documents is none }}")
           ->Render(input),
      "<BOS><EOS>TrueTrue");
  const auto bare = *ChatTemplate::FromText("{{ bos_token is defined }}", "", "");
  EXPECT_EQ(*bare->Render(input), "False");
  EXPECT_EQ(ChatTemplate::FromText("{% if %}", "", "").status().code(), StatusCode::kInvalidArgument);
}

TEST(ChatTemplate, HostileMessagesAreOnlyText) {
  const auto chat_template = FromText("{% for m in messages %}{{ m.content }}{% endfor %}");
  ChatTemplateInput input;
  const std::string content = "{{ 7 * 7 }}{% raw %}" + std::string("\0", 1) + "<EOS>";
  input.messages = Json::array({Json{{"role", "user"}, {"content", content}}});
  EXPECT_EQ(*chat_template->Render(input), content);
}

class ChatTemplateFiles : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::path(testing::TempDir()) / "penstock_chat_template_files";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  std::string Render(bool with_tools = false) {
    const Result<std::unique_ptr<ChatTemplate>> chat_template = ChatTemplate::Load(dir_.string());
    if (!chat_template.ok()) return chat_template.status().message();
    ChatTemplateInput input = Input(R"([{"role": "user", "content": "x"}])");
    if (with_tools) input.tools = Parse("[{}]");
    return *(*chat_template)->Render(input);
  }
  Status LoadStatus() { return ChatTemplate::Load(dir_.string()).status(); }

  std::filesystem::path dir_;
};

TEST_F(ChatTemplateFiles, NoneIsNotFound) {
  EXPECT_EQ(LoadStatus().code(), StatusCode::kNotFound);
  Write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_EQ(LoadStatus().code(), StatusCode::kNotFound);
}

TEST_F(ChatTemplateFiles, StringInTheConfig) {
  Write(
      "tokenizer_config.json",
      R"({"chat_template": "config {{ bos_token }}{{ pad_token }}", "bos_token": {"content": "<B>"}, "pad_token": "<P>"})");
  EXPECT_EQ(Render(), "config <B><P>");
}

TEST_F(ChatTemplateFiles, FileComesBeforeTheConfig) {
  Write("tokenizer_config.json", R"({"chat_template": "config", "eos_token": "<E>"})");
  Write("chat_template.jinja", "file {{ eos_token }}\n");
  EXPECT_EQ(Render(), "file <E>");
}

TEST_F(ChatTemplateFiles, NamedTemplates) {
  Write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "{% bad"}, {"name": "default", "template": "main"}]})");
  EXPECT_EQ(Render(), "main");
  EXPECT_EQ(Render(true), "tools");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "tools"}]})");
  EXPECT_EQ(LoadStatus().code(), StatusCode::kInvalidArgument);
}

TEST_F(ChatTemplateFiles, WrongOnesNameTheFile) {
  for (const char* config : {R"({"chat_template": 5})", R"({"chat_template": [{"name": "x"}]})",
                             R"({"chat_template": "{% if %}"})"}) {
    Write("tokenizer_config.json", config);
    EXPECT_EQ(LoadStatus().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(LoadStatus().message().find("tokenizer_config.json"), std::string::npos);
  }
  Write("chat_template.jinja", "{{ x");
  EXPECT_NE(LoadStatus().message().find("chat_template.jinja"), std::string::npos);
}

}  // namespace
}  // namespace penstock
