// What clients get wrong, by accident or not: each is answered with a 4xx in OpenAI's shape, and the server
// goes on.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/testing/server_fixture.h"

namespace penstock {
namespace {

class BadInputTest : public ServerFixture {};

TEST_F(BadInputTest, MalformedJson) {
  Start();
  for (const std::string& text : std::vector<std::string>{
           "",
           " ",
           "{",
           "nonsense",
           "[]",
           "null",
           "\"x\"",
           "3",
           "{\"prompt\":}",
           "{\"prompt\":\"a\",}",
           "{'prompt':'a'}",
           "{\"prompt\":\"\xff\xfe\"}",
           "{\"prompt\":\"\\ud800\"}",
           "{\"prompt\":\"a\",\"temperature\":NaN}",
           "{\"prompt\":\"a\",\"temperature\":Infinity}",
           "{\"prompt\":\"a\",\"temperature\":1e999}",
           "{\"prompt\":\"a\",\"seed\":99999999999999999999999}",
           "{\"prompt\":\"a\"} x",
           std::string(100'000, '['),
           std::string(100'000, '[') + std::string(100'000, ']'),
           "{\"prompt\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
           "{\"prompt\":\"a\",\"x\":" + std::string(100, '[') + std::string(100, ']') + "}"}) {
    for (const char* path :
         {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/abort_requests"}) {
      SCOPED_TRACE(std::string(path) + " " + text.substr(0, 60));
      ExpectError(PostText(path, text), 400);
    }
  }
  ExpectAlive();
}

TEST_F(BadInputTest, Prompts) {
  Start();
  for (const char* prompt :
       {"null",      "\"\"",        "[]",      "[[]]",   "[\"\"]", "[\"a\",\"\"]", "[[1],[]]", "[1,\"a\"]",
        "[\"a\",1]", "[[1,\"a\"]]", "[[[1]]]", "[1.5]",  "[-1]",   "[258]",        "[[258]]",  "[1e30]",
        "true",      "3",           "{}",      "[null]", "[true]", "[4294967296]"}) {
    SCOPED_TRACE(prompt);
    ExpectError(PostText("/v1/completions", fmt::format("{{\"prompt\":{}}}", prompt)), 400, "prompt");
  }
  ExpectError(PostText("/v1/completions", "{}"), 400, "prompt");
  std::string many = "[\"a\"";
  for (int i = 0; i < 1024; ++i) many += ",\"a\"";
  ExpectError(PostText("/v1/completions", "{\"prompt\":" + many + "]}"), 400, "prompt");
  EXPECT_TRUE(engine_.submitted().empty());
  ExpectAlive();
}

TEST_F(BadInputTest, Messages) {
  Start();
  for (
      const char* messages :
      {"null", "[]", "{}", "\"hi\"", "[1]", "[null]", "[{}]", R"([{"role":1,"content":"a"}])",
       R"([{"role":"user"}])", R"([{"role":"user","content":null}])", R"([{"role":"user","content":5}])",
       R"([{"role":"user","content":[5]}])", R"([{"role":"user","content":[{"type":"text"}]}])",
       R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1/"}}]}])",
       R"([{"role":"assistant","content":null,"tool_calls":5}])",
       R"([{"role":"assistant","content":null,"tool_calls":[{}]}])",
       R"([{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])"}) {
    SCOPED_TRACE(messages);
    ExpectError(PostText("/v1/chat/completions", fmt::format("{{\"messages\":{}}}", messages)), 400,
                "messages");
  }
  ExpectError(PostText("/v1/chat/completions", "{}"), 400, "messages");
  ExpectAlive();
}

TEST_F(BadInputTest, TooLongForTheContext) {
  Start();
  const std::string long_text(3000, 'a');
  ClientResponse response = Post("/v1/completions", Completion({{"prompt", long_text}}));
  ExpectError(response, 400, "input_tokens");
  const std::string message = response.BodyJson()["error"]["message"];
  EXPECT_EQ(message,
            "This model's maximum context length is 2048 tokens. However, you requested 16 output tokens and "
            "your prompt "
            "contains at least 3000 input tokens, for a total of at least 3016 tokens. Please reduce the "
            "length of the "
            "input prompt or the number of requested output tokens.");
  const std::vector<int> ids(2048, 7);
  ExpectError(Post("/v1/completions", Completion({{"prompt", ids}, {"max_tokens", 1}})), 400, "input_tokens");
  EXPECT_EQ(
      Post("/v1/completions", Completion({{"prompt", std::vector<int>(2047, 7)}, {"max_tokens", 1}})).status,
      200);
  ExpectError(Post("/v1/completions", Completion({{"max_tokens", 2046}})), 400, "input_tokens");
  EXPECT_EQ(Post("/v1/completions", Completion({{"max_tokens", 2045}})).status, 200);
  ExpectError(Post("/v1/completions", Completion({{"max_tokens", 2147483647}})), 400, "input_tokens");
  const Json messages = Json::array({{{"role", "user"}, {"content", std::string(2048 - 16, 'a')}}});
  response = Post("/v1/chat/completions", {{"messages", messages}});
  ExpectError(response, 400, "input_tokens");
  EXPECT_NE(response.body.find("maximum context length"), std::string::npos);
}

TEST_F(BadInputTest, KnownButUnsupportedFieldsAreNamed) {
  Start();
  const std::pair<const char*, const char*> both[] = {
      {"use_beam_search", "true"},
      {"best_of", "2"},
      {"logprob_token_ids", "[1]"},
      {"bad_words", "[\"a\"]"},
      {"allowed_token_ids", "[1]"},
      {"kv_transfer_params", "{\"do_remote_decode\":true}"},
      {"structured_outputs", "{\"regex\":\"a\"}"},
      {"guided_json", "{}"},
      {"guided_regex", "\"a\""},
      {"guided_choice", "[\"a\"]"},
      {"guided_grammar", "\"a\""},
      {"response_format", "{\"type\":\"json_object\"}"},
      {"response_format", "{\"type\":\"json_schema\",\"json_schema\":{}}"},
      {"response_format", "5"},
      {"return_progress", "1"},
      {"return_metrics", "1"},
      {"lora_request", "{}"},
      {"length_penalty", "0.5"},
      {"vllm_xargs", "{\"a\":1}"},
      {"stream_interval", "4"},
      {"priority", "1"}};
  for (const auto& [name, value] : both) {
    SCOPED_TRACE(name);
    Json more = {{name, Json::parse(value)}};
    ExpectError(Post("/v1/completions", Completion(more)), 400, name);
    ExpectError(Post("/v1/chat/completions", Chat(more)), 400, name);
  }
  for (const auto& [name, value] : {std::pair("prompt_embeds", "\"AAAA\""), std::pair("suffix", "\"x\"")}) {
    ExpectError(Post("/v1/completions", Completion({{name, Json::parse(value)}})), 400, name);
  }
  for (const auto& [name, value] :
       {std::pair("documents", "[{\"text\":\"a\"}]"), std::pair("chat_template", "\"{{ x }}\""),
        std::pair("echo", "true"), std::pair("tool_choice", "\"required\""),
        std::pair("tool_choice", "\"auto\""), std::pair("tools", "[]"), std::pair("tools", "[{}]"),
        std::pair("functions", "[{}]"), std::pair("audio", "{}"),
        std::pair("mm_processor_kwargs", "{\"a\":1}"), std::pair("chat_template_kwargs", "5")}) {
    SCOPED_TRACE(name);
    ExpectError(Post("/v1/chat/completions", Chat({{name, Json::parse(value)}})), 400, name);
  }
}

TEST_F(BadInputTest, NeutralValuesAndUnknownFieldsAreAccepted) {
  Start();
  const Json neutral = {{"use_beam_search", false},
                        {"best_of", 1},
                        {"bad_words", Json::array()},
                        {"length_penalty", 1.0},
                        {"response_format", {{"type", "text"}}},
                        {"structured_outputs", nullptr},
                        {"logit_bias", nullptr},
                        {"stop", nullptr},
                        {"stop_token_ids", nullptr},
                        {"kv_transfer_params", nullptr},
                        {"n", nullptr},
                        {"user", "me"},
                        {"no_such_field", {{"deep", {1, 2, 3}}}},
                        {"stream", false},
                        {"priority", 0},
                        {"stream_options", nullptr},
                        {"service_tier", "auto"},
                        {"return_progress", false}};
  ClientResponse response = Post("/v1/completions", Completion(neutral));
  EXPECT_EQ(response.status, 200) << response.body;
  Json chat = neutral;
  chat.update(
      Json{{"tool_choice", "none"}, {"parallel_tool_calls", true}, {"echo", false}, {"top_logprobs", 0}});
  response = Post("/v1/chat/completions", Chat(chat));
  EXPECT_EQ(response.status, 200) << response.body;
}

TEST_F(BadInputTest, FieldsThatContradictEachOther) {
  Start();
  ExpectError(Post("/v1/completions", Completion({{"stream_options", {{"include_usage", true}}}})), 400,
              "stream_options");
  ExpectError(Post("/v1/completions", Completion({{"return_progress", true}})), 400, "return_progress");
  ExpectError(Post("/v1/completions", Completion({{"min_tokens", 17}})), 400, "min_tokens");
  ExpectError(Post("/v1/completions", Completion({{"max_tokens", 0}})), 400, "max_tokens");
  ExpectError(Post("/v1/completions", Completion({{"n", 2}, {"temperature", 0}})), 400, "n");
  ExpectError(Post("/v1/completions", Completion({{"stream", true}, {"prompt_logprobs", 1}})), 400,
              "prompt_logprobs");
  ExpectError(Post("/v1/chat/completions", Chat({{"top_logprobs", 1}})), 400, "top_logprobs");
  ExpectError(
      Post("/v1/chat/completions", Chat({{"continue_final_message", true}, {"add_generation_prompt", true}})),
      400, "continue_final_message");
  ExpectError(Post("/v1/completions", Completion({{"stop", {"a", "b", "c", "d", "e"}}})), 400, "stop");
  ExpectError(Post("/v1/completions", Completion({{"stop", ""}})), 400, "stop");
  ExpectError(Post("/v1/completions", Completion({{"logit_bias", {{"999", 1}}}})), 400, "logit_bias");
  ExpectError(Post("/v1/completions", Completion({{"logit_bias", {{"x", 1}}}})), 400, "logit_bias");
  ExpectError(Post("/v1/completions", Completion({{"logit_bias", {{"7", 101}}}})), 400, "logit_bias");
  ExpectError(Post("/v1/completions", Completion({{"stop_token_ids", {258}}})), 400, "stop_token_ids");
  ExpectError(Post("/v1/completions", Completion({{"cache_salt", "a/b"}})), 400, "cache_salt");
  ExpectError(Post("/v1/completions", Completion({{"cache_salt", ""}})), 400, "cache_salt");
  ExpectError(Post("/v1/completions", Completion({{"request_id", "a\r\nb"}})), 400, "request_id");
}

TEST_F(BadInputTest, ObjectWithManyKeysIsRefusedQuickly) {
  Start();
  std::string kwargs = "{\"k0\":0";
  for (int i = 1; i < 200'000; ++i) kwargs += fmt::format(",\"k{}\":0", i);
  const std::string body =
      R"({"messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":)" + kwargs + "}}";
  ExpectError(PostText("/v1/chat/completions", body), 400, "chat_template_kwargs");
}

// Each numeric field with each edge and each wrong type: 200 or 400, as the range says, and the server lives.
TEST_F(BadInputTest, EveryNumericFieldAtEveryEdge) {
  engine_.mutable_limits().max_num_seqs = 4;
  Start();
  struct Range {
    const char* name;
    bool whole;
    double min, max;
    bool min_excluded = false;
    Json beside = Json::object();  // fields that the field needs
  };
  const Range completions[] = {{"temperature", false, 0, 2},
                               {"top_p", false, 0, 1, true},
                               {"top_k", true, -1, 2147483647},
                               {"min_p", false, 0, 1},
                               {"presence_penalty", false, -2, 2},
                               {"frequency_penalty", false, -2, 2},
                               {"repetition_penalty", false, 0, 1e6, true},
                               {"seed", true, -9.2e18, 9.2e18},
                               {"n", true, 1, 4},
                               {"max_tokens", true, 1, 2045},
                               {"min_tokens", true, 0, 16},
                               {"logprobs", true, 0, 20},
                               {"prompt_logprobs", true, 0, 20},
                               {"truncate_prompt_tokens", true, 1, 2048},
                               {"priority", true, 0, 0}};
  const Range chat[] = {{"max_tokens", true, 1, 2048 - 18},
                        {"max_completion_tokens", true, 1, 2048 - 18},
                        {"top_logprobs", true, 0, 20, false, {{"logprobs", true}}},
                        {"prompt_logprobs", true, 0, 20}};
  const auto check = [&](const std::string& path, const Range& range, const Json& base) {
    TestClient client(port());
    const auto status = [&](const Json& value) {
      Json body = base;
      body.update(range.beside);
      body[range.name] = value;
      const ClientResponse response = client.Post(path, body);
      if (response.status == 400) {
        EXPECT_TRUE(response.BodyJson().contains("error")) << response.body;
      }
      return response.status;
    };
    const auto number = [&](double value) {
      return range.whole ? Json(static_cast<int64_t>(value)) : Json(value);
    };
    SCOPED_TRACE(path + " " + range.name);
    EXPECT_EQ(status(number(range.min)), range.min_excluded ? 400 : 200);
    EXPECT_EQ(status(number(range.max)), 200);
    EXPECT_EQ(status(nullptr), 200);
    if (range.max < 9e18) {
      EXPECT_EQ(status(number(range.max + 1)), 400);
    }
    if (range.min > -9e18 && std::string(range.name) != "truncate_prompt_tokens") {
      EXPECT_EQ(status(number(range.min - 1)), 400);
    }
    for (const char* wrong : {"1e308", "-1e308", "\"1\"", "true", "[]", "{}", "[1]", "\"NaN\""}) {
      EXPECT_EQ(status(Json::parse(wrong)), 400) << wrong;
    }
    if (range.whole) {
      EXPECT_EQ(status(1.5), 400);
    }
  };
  for (const Range& range : completions) check("/v1/completions", range, Completion());
  for (const Range& range : chat) check("/v1/chat/completions", range, Chat());
  ExpectAlive();
}

TEST_F(BadInputTest, WrongTypesOfOtherFields) {
  Start();
  for (const char* name : {"stream", "echo", "ignore_eos", "include_stop_str_in_output",
                           "skip_special_tokens", "return_token_ids", "add_special_tokens"}) {
    for (const Json& wrong : {Json(1), Json("true"), Json::array(), Json::object()}) {
      SCOPED_TRACE(name);
      ExpectError(Post("/v1/completions", Completion({{name, wrong}})), 400, name);
    }
  }
  for (const char* name : {"model", "request_id", "cache_salt", "truncation_side"}) {
    ExpectError(Post("/v1/completions", Completion({{name, 5}})), 400, name);
  }
  for (const Json& wrong : {Json(1), Json("a"), Json{{"include_usage", 1}}}) {
    ExpectError(Post("/v1/completions", Completion({{"stream", true}, {"stream_options", wrong}})), 400,
                "stream_options");
  }
  for (const Json& wrong : {Json(1), Json::object(), Json::array({1}), Json::array({nullptr})}) {
    ExpectError(Post("/v1/completions", Completion({{"stop", wrong}})), 400, "stop");
  }
  ExpectAlive();
}

TEST_F(BadInputTest, PathsAndMethods) {
  Start();
  ExpectError(Get("/nowhere"), 404);
  ExpectError(Get("/v1/models/"), 404);
  ExpectError(Get("/v1/chat/completions/"), 404);
  const ClientResponse wrong_method = Get("/v1/chat/completions");
  ExpectError(wrong_method, 405);
  EXPECT_EQ(wrong_method.Header("Allow"), "POST");
  TestClient client(port());
  ExpectError(client.Call("DELETE", "/health"), 405);
  ExpectError(client.Call("BREW", "/health"), 405);
  ExpectError(client.Call("GET", "/%00%ff\"'"), 404);
  EXPECT_EQ(client.Call("HEAD", "/health").status, 200);
  EXPECT_EQ(client.Call("GET", "/health?x=1").status, 200);
}

}  // namespace
}  // namespace penstock
