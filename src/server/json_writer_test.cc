// SPDX-License-Identifier: Apache-2.0
#include "server/json_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/json.h"

namespace penstock {
namespace {

TEST(JsonWriterTest, CommasAndNesting) {
  std::string text;
  JsonWriter json(&text);
  json.BeginObject()
      .Key("a")
      .Int(-1)
      .Key("b")
      .BeginArray()
      .Null()
      .Bool(true)
      .BeginObject()
      .EndObject()
      .EndArray();
  json.Key("c").BeginArray().EndArray().Key("d").Float(-0.25f).EndObject();
  EXPECT_EQ(text, R"({"a":-1,"b":[null,true,{}],"c":[],"d":-0.25})");
}

TEST(JsonWriterTest, EveryFloatReadsBackTheSame) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const uint32_t bits = random();
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    std::string text;
    JsonWriter(&text).Float(value);
    const Json read = Json::parse(text);
    if (std::isfinite(value))
      ASSERT_EQ(read.get<float>(), value) << text;
    else
      ASSERT_TRUE(read.is_null());
  }
}

TEST(JsonWriterTest, StringsReadBackTheSame) {
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  all += "é中😀\u0080\u07ff\u0800\uffff";
  std::string text;
  AppendJsonString(all, &text);
  EXPECT_EQ(Json::parse(text).get<std::string>(), all);
}

TEST(JsonWriterTest, BytesThatAreNotUtf8AreReplaced) {
  for (const char* bad : {"\xff", "\x80", "\xc0\x80", "\xc3", "\xe4\xb8", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                          "\xf0\x80\x80\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80"}) {
    std::string text;
    AppendJsonString(std::string("a") + bad + "z", &text);
    const Json read = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    ASSERT_FALSE(read.is_discarded()) << text;
    const std::string value = read.get<std::string>();
    EXPECT_TRUE(value.starts_with("a\xEF\xBF\xBD") && value.ends_with("z")) << text;
  }
}

TEST(JsonWriterTest, RandomBytesAlwaysGiveValidJson) {
  std::mt19937 random(2);
  for (int i = 0; i < 5'000; ++i) {
    std::string bytes(random() % 24, ' ');
    for (char& c : bytes) c = static_cast<char>(random() % 4 == 0 ? random() % 128 : 128 + random() % 128);
    std::string text;
    AppendJsonString(bytes, &text);
    ASSERT_FALSE(Json::parse(text, nullptr, false).is_discarded());
  }
}

TEST(JsonWriterTest, CountsCharacters) {
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(CountCharacters("aé中😀"), 4);
}

}  // namespace
}  // namespace penstock
