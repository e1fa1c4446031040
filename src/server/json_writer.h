// JsonWriter: appends JSON to a string, with the commas in the right places. For answers, which are written
// once for each token; configuration and small fixed documents use base/json.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

// `text` as a JSON string with its quotes. Bytes that are not UTF-8 come out as U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);

// The number of characters (code points) of UTF-8 text.
int64_t CountCharacters(std::string_view text);

class JsonWriter {
 public:
  explicit JsonWriter(std::string* out) : out_(*out) {}

  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(std::string_view key);

  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& Float(float value);  // the shortest digits that read back the same; not finite: null
  JsonWriter& Double(double value);
  JsonWriter& Bool(bool value) { return Raw(value ? "true" : "false"); }
  JsonWriter& Null() { return Raw("null"); }
  JsonWriter& Raw(std::string_view json);  // a value that is JSON already

 private:
  JsonWriter& Begin(char bracket) {
    Comma();
    out_ += bracket;
    need_comma_ = false;
    return *this;
  }
  JsonWriter& End(char bracket) {
    out_ += bracket;
    need_comma_ = true;
    return *this;
  }
  void Comma() {
    if (need_comma_) out_ += ',';
  }

  std::string& out_;
  bool need_comma_ = false;
};

}  // namespace penstock
