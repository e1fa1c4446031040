// ConfigReader: typed fields of a JSON object, with errors that name the field and its value.
//
// The first error is kept and the rest of the reading goes on with defaults: read everything, then ask
// status().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

class ConfigReader {
 public:
  // `json` is an object and outlives the reader. `what` names it in messages ("config.json").
  ConfigReader(const Json& json, std::string what) : json_(json), what_(std::move(what)) {}

  const Status& status() const { return status_; }
  void Fail(Status status);

  // A field that is null counts as absent.
  bool Has(const std::string& key) const { return Find(key) != nullptr; }
  const Json* Find(const std::string& key) const;

  // Integers are within int32. Absent: an error, or the default.
  int32_t Int(const std::string& key);
  int32_t Int(const std::string& key, int32_t otherwise);
  double Number(const std::string& key, double otherwise);
  bool Bool(const std::string& key, bool otherwise);
  std::string String(const std::string& key, const std::string& otherwise);

  // One integer or a list of them.
  std::vector<int32_t> Ints(const std::string& key);

  // kUnimplemented unless the field is absent or has the one value that is supported.
  void Only(const std::string& key, const Json& supported);

  // kUnimplemented: the field and its value, and why.
  void Unsupported(const std::string& key, std::string_view why);

 private:
  void WrongType(const std::string& key, const Json& value, std::string_view expected);

  const Json& json_;
  const std::string what_;
  Status status_;
};

}  // namespace penstock
