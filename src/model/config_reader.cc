// SPDX-License-Identifier: Apache-2.0
#include "model/config_reader.h"

#include <cmath>
#include <limits>

namespace penstock {
namespace {

constexpr size_t kMaxShownChars = 80;

// The value as a message shows it: one line of ASCII, cut where it is long.
std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxShownChars) text = text.substr(0, kMaxShownChars) + "…";
  return text;
}

bool IsInt32(const Json& value) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
  return value.get<int64_t>() >= std::numeric_limits<int32_t>::min();
}

}  // namespace

void ConfigReader::Fail(Status status) {
  if (status_.ok()) status_ = status.WithContext(what_);
}

const Json* ConfigReader::Find(const std::string& key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

void ConfigReader::WrongType(const std::string& key, const Json& value, std::string_view expected) {
  Fail(InvalidArgument("{} is {}, expected {}", key, Shown(value), expected));
}

int32_t ConfigReader::Int(const std::string& key) {
  if (!Has(key)) Fail(InvalidArgument("{} is missing", key));
  return Int(key, 0);
}

int32_t ConfigReader::Int(const std::string& key, int32_t otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (IsInt32(*value)) return value->get<int32_t>();
  WrongType(key, *value, "a 32-bit integer");
  return otherwise;
}

double ConfigReader::Number(const std::string& key, double otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  WrongType(key, *value, "a number");
  return otherwise;
}

bool ConfigReader::Bool(const std::string& key, bool otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  WrongType(key, *value, "true or false");
  return otherwise;
}

std::string ConfigReader::String(const std::string& key, const std::string& otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  WrongType(key, *value, "a string");
  return otherwise;
}

std::vector<int32_t> ConfigReader::Ints(const std::string& key) {
  const Json* value = Find(key);
  if (value == nullptr) return {};
  std::vector<int32_t> ints;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& item : list) {
    if (!IsInt32(item)) {
      WrongType(key, *value, "integers");
      return {};
    }
    ints.push_back(item.get<int32_t>());
  }
  return ints;
}

void ConfigReader::Only(const std::string& key, const Json& supported) {
  const Json* value = Find(key);
  if (value == nullptr || *value == supported) return;
  Unsupported(key, "only " + Shown(supported) + " is");
}

void ConfigReader::Unsupported(const std::string& key, std::string_view why) {
  const Json* value = Find(key);
  Fail(
      Unimplemented("{} = {} is not supported: {}", key, value == nullptr ? "(absent)" : Shown(*value), why));
}

}  // namespace penstock
