// RequestFields: typed, range-checked access to the fields of a JSON request body. simdjson reads the text (a
// body can hold a million token ids) and shows in request_fields.cc only.
//
// Rules for every field: null is the same as absent; of a key that is given twice the last counts; keys that
// nobody asks for are ignored; a value of another type or outside its range is an error that names the field.
// The first error is kept, and getters return nothing from then on, so that a parser is a plain list of
// fields with one check of error() at its end.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "plan/sampling_params.h"
#include "server/error_response.h"

namespace penstock {

// A prompt as the client gave it: text, or token ids (each inside the vocabulary).
using PromptInput = std::variant<std::string, std::vector<TokenId>>;

class RequestFields {
 public:
  // What a value may be to count as "not used", for fields that are known and not supported.
  enum class Neutral { kNull, kFalse, kTrue, kEmpty, kZero, kOne, kMinusOne };

  // Check error() before the rest.
  explicit RequestFields(std::string_view body);
  ~RequestFields();
  RequestFields(RequestFields&&) noexcept;

  const std::optional<ApiError>& error() const { return error_; }
  // Keeps the first.
  void Fail(ApiError error) {
    if (!error_) error_ = std::move(error);
  }

  bool Has(std::string_view name) const;  // present and not null

  std::optional<bool> Bool(std::string_view name);
  // Whole numbers; 16.0 counts as one.
  std::optional<int64_t> Int(std::string_view name, int64_t min, int64_t max);
  // In [min, max]; `min_excluded` for (min, max].
  std::optional<double> Number(std::string_view name, double min, double max, bool min_excluded = false);
  std::optional<std::string> String(std::string_view name);
  std::optional<std::vector<TokenId>> TokenIds(std::string_view name, int32_t vocab_size, size_t max_count);
  // A string or a list of strings.
  std::optional<std::vector<std::string>> Strings(std::string_view name, size_t max_count);
  // {"123": 0.5, …}
  std::vector<std::pair<TokenId, float>> TokenBiases(std::string_view name, int32_t vocab_size,
                                                     float max_abs);
  // A string, a list of strings, a list of ids, or a list of lists of ids. Not empty, nor any of them.
  std::vector<PromptInput> Prompts(std::string_view name, int32_t vocab_size, size_t max_count);
  // Any value, of at most 64 levels and 4096 keys in one object.
  std::optional<Json> Value(std::string_view name);

  // Whether the field is absent, null, or as neutral as `neutral` says.
  bool IsNeutral(std::string_view name, Neutral neutral) const;

 private:
  struct Document;

  void WrongType(std::string_view name, std::string_view expected);

  std::unique_ptr<Document> document_;
  std::optional<ApiError> error_;
};

}  // namespace penstock
