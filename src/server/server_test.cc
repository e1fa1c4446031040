// All endpoints, as a client sees them.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/server_fixture.h"

namespace penstock {
namespace {

TEST_F(ServerFixture, ChatAnswersWholeConversation) {
  Start();
  const ClientResponse response = Post("/v1/chat/completions", Chat());
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.Header("Content-Type"), "application/json");
  const Json body = response.BodyJson();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_GT(body["created"].get<int64_t>(), 1'700'000'000);
  ASSERT_EQ(body["choices"].size(), 1u);
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Hello world");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["stop_reason"].is_null());
  const int64_t prompt_tokens = static_cast<int64_t>(std::string("user:hi;assistant:").size());
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt_tokens);
  EXPECT_EQ(body["usage"]["completion_tokens"], 11);
  EXPECT_EQ(body["usage"]["total_tokens"], prompt_tokens + 11);

  const std::vector<Request> submitted = engine_.submitted();
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].sampling.max_tokens, 2048 - prompt_tokens) << "chat answers may fill the context";
}

}  // namespace
}  // namespace penstock
