// Adapts the parser's dozen callbacks, which answer with a bool, to the four of JsonEvents.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/json_events.h"

#include <utility>

#include "base/json.h"

namespace penstock {
namespace {

class Adapter : public Json::json_sax_t {
 public:
  explicit Adapter(JsonEvents& events) : events_(events) {}

  Status TakeStatus() { return std::move(status_); }

  bool null() override { return Scalar({}); }
  bool boolean(bool) override { return Scalar({}); }
  bool number_integer(number_integer_t) override { return Scalar({}); }  // a negative one
  bool number_unsigned(number_unsigned_t value) override {
    return Scalar({.text = nullptr, .number = value});
  }
  bool number_float(number_float_t, const string_t&) override { return Scalar({}); }
  bool string(string_t& value) override { return Scalar({.text = &value, .number = {}}); }
  bool binary(binary_t&) override { return Scalar({}); }
  bool start_object(size_t) override { return Take(events_.Open(/*is_object=*/true)); }
  bool start_array(size_t) override { return Take(events_.Open(/*is_object=*/false)); }
  bool end_object() override { return Take(events_.Close()); }
  bool end_array() override { return Take(events_.Close()); }
  bool key(string_t& key) override { return Take(events_.Key(key)); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Take(InvalidArgument("not JSON at byte {}", position));
  }

 private:
  bool Scalar(const JsonScalar& value) { return Take(events_.Scalar(value)); }
  bool Take(Status status) {
    status_ = std::move(status);
    return status_.ok();
  }

  JsonEvents& events_;
  Status status_;
};

}  // namespace

Status ParseJsonEvents(std::string_view text, JsonEvents& events) {
  Adapter adapter(events);
  Json::sax_parse(text, &adapter);
  return adapter.TakeStatus();
}

}  // namespace penstock
