// SPDX-License-Identifier: Apache-2.0
#include "server/request_fields.h"

#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <unordered_map>

namespace penstock {

namespace dom = simdjson::dom;

struct RequestFields::Document {
  dom::parser parser;
  std::unordered_map<std::string_view, dom::element> fields;  // views into the parser; no nulls

  const dom::element* Find(std::string_view name) const {
    const auto it = fields.find(name);
    return it == fields.end() ? nullptr : &it->second;
  }
};

namespace {

// The value of an element whose type has been checked.
template <typename T>
T ValueOf(const dom::element& element) {
  T value;
  const simdjson::error_code code = element.get(value);
  CHECK(!code) << simdjson::error_message(code);
  return value;
}
dom::array ArrayOf(const dom::element& element) { return ValueOf<dom::array>(element); }
dom::object ObjectOf(const dom::element& element) { return ValueOf<dom::object>(element); }
std::string_view StringOf(const dom::element& element) { return ValueOf<std::string_view>(element); }
int64_t Int64Of(const dom::element& element) { return ValueOf<int64_t>(element); }
uint64_t Uint64Of(const dom::element& element) { return ValueOf<uint64_t>(element); }
double DoubleOf(const dom::element& element) { return ValueOf<double>(element); }
bool BoolOf(const dom::element& element) { return ValueOf<bool>(element); }

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxKeys = 4096;  // an ordered object looks each new key up among all before it

std::string_view TypeName(const dom::element& element) {
  switch (element.type()) {
    case dom::element_type::ARRAY:
      return "a list";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
    case dom::element_type::DOUBLE:
      return "a number";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      break;
  }
  return "null";
}

// A whole number that fits in 64 bits, signed.
std::optional<int64_t> AsInt(const dom::element& element) {
  if (element.is_int64()) return Int64Of(element);
  if (element.type() == dom::element_type::DOUBLE) {
    const double value = DoubleOf(element);
    if (std::trunc(value) == value && std::abs(value) < 9.2e18) return static_cast<int64_t>(value);
  }
  return std::nullopt;
}

bool IsNumber(const dom::element& element) {
  return element.type() == dom::element_type::INT64 || element.type() == dom::element_type::UINT64 ||
         element.type() == dom::element_type::DOUBLE;
}

// False if it is too wide.
bool ToJson(const dom::element& element, Json* json) {
  switch (element.type()) {
    case dom::element_type::ARRAY:
      *json = Json::array();
      for (const dom::element child : ArrayOf(element)) {
        if (!ToJson(child, &json->emplace_back())) return false;
      }
      return true;
    case dom::element_type::OBJECT: {
      *json = Json::object();
      const dom::object object = ObjectOf(element);
      if (object.size() > kMaxKeys) return false;
      for (const dom::key_value_pair field : object) {
        if (!ToJson(field.value, &(*json)[std::string(field.key)])) return false;
      }
      return true;
    }
    case dom::element_type::INT64:
      *json = Int64Of(element);
      return true;
    case dom::element_type::UINT64:
      *json = Uint64Of(element);
      return true;
    case dom::element_type::DOUBLE:
      *json = DoubleOf(element);
      return true;
    case dom::element_type::STRING:
      *json = std::string(StringOf(element));
      return true;
    case dom::element_type::BOOL:
      *json = BoolOf(element);
      return true;
    case dom::element_type::NULL_VALUE:
      *json = nullptr;
      return true;
  }
  return true;
}

std::optional<ApiError> ReadTokenIds(std::string_view name, const dom::array& array, int32_t vocab_size,
                                     std::vector<TokenId>* ids) {
  ids->reserve(array.size());
  for (const dom::element element : array) {
    const std::optional<int64_t> id = IsNumber(element) ? AsInt(element) : std::nullopt;
    if (!id)
      return BadRequest(std::string(name), "{}: token ids must be integers, got {}", name, TypeName(element));
    if (*id < 0 || *id >= vocab_size) {
      return BadRequest(std::string(name), "{}: token id {} is out of vocabulary, expected 0 <= id < {}",
                        name, *id, vocab_size);
    }
    ids->push_back(static_cast<TokenId>(*id));
  }
  return std::nullopt;
}

}  // namespace

RequestFields::RequestFields(std::string_view body) : document_(std::make_unique<Document>()) {
  simdjson::error_code code = document_->parser.allocate(body.size() + 1, kMaxDepth);
  dom::element root;
  if (!code) code = document_->parser.parse(body.data(), body.size()).get(root);
  if (code == simdjson::DEPTH_ERROR) {
    Fail(BadRequest("", "the request body is nested more than {} deep", kMaxDepth));
  } else if (code) {
    Fail(BadRequest("", "the request body is not valid JSON: {}", simdjson::error_message(code)));
  } else if (!root.is_object()) {
    Fail(BadRequest("", "the request body must be a JSON object, got {}", TypeName(root)));
  } else {
    for (const dom::key_value_pair field : ObjectOf(root)) {
      if (field.value.is_null())
        document_->fields.erase(field.key);
      else
        document_->fields.insert_or_assign(field.key, field.value);
    }
  }
}

RequestFields::~RequestFields() = default;
RequestFields::RequestFields(RequestFields&&) noexcept = default;

void RequestFields::WrongType(std::string_view name, std::string_view expected) {
  Fail(BadRequest(std::string(name), "{} must be {}, got {}", name, expected,
                  TypeName(*document_->Find(name))));
}

bool RequestFields::Has(std::string_view name) const { return document_->Find(name) != nullptr; }

std::optional<bool> RequestFields::Bool(std::string_view name) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  if (element->is_bool()) return BoolOf(*element);
  WrongType(name, "a boolean");
  return std::nullopt;
}

std::optional<int64_t> RequestFields::Int(std::string_view name, int64_t min, int64_t max) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  if (!IsNumber(*element)) {
    WrongType(name, "an integer");
    return std::nullopt;
  }
  const std::optional<int64_t> value = AsInt(*element);
  if (value && *value >= min && *value <= max) return value;
  const double number = DoubleOf(*element);
  if (!value && std::trunc(number) != number)
    Fail(BadRequest(std::string(name), "{} must be an integer, got {}", name, number));
  else if (max == INT64_MAX)
    Fail(BadRequest(std::string(name), "{} must be at least {}, got {}", name, min, number));
  else
    Fail(BadRequest(std::string(name), "{} must be in [{}, {}], got {}", name, min, max, number));
  return std::nullopt;
}

std::optional<double> RequestFields::Number(std::string_view name, double min, double max,
                                            bool min_excluded) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  if (!IsNumber(*element)) {
    WrongType(name, "a number");
    return std::nullopt;
  }
  const double value = DoubleOf(*element);
  if (value <= max && (min_excluded ? value > min : value >= min)) return value;
  Fail(BadRequest(std::string(name), "{} must be in {}{}, {}], got {}", name, min_excluded ? '(' : '[', min,
                  max, value));
  return std::nullopt;
}

std::optional<std::string> RequestFields::String(std::string_view name) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  if (element->is_string()) return std::string(StringOf(*element));
  WrongType(name, "a string");
  return std::nullopt;
}

std::optional<std::vector<TokenId>> RequestFields::TokenIds(std::string_view name, int32_t vocab_size,
                                                            size_t max_count) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  if (!element->is_array()) {
    WrongType(name, "a list of token ids");
    return std::nullopt;
  }
  const dom::array array = ArrayOf(*element);
  std::vector<TokenId> ids;
  if (std::optional<ApiError> error = ReadTokenIds(name, array, vocab_size, &ids))
    Fail(std::move(*error));
  else if (ids.size() > max_count)
    Fail(BadRequest(std::string(name), "{}: {} ids, at most {} are allowed", name, ids.size(), max_count));
  if (error_) return std::nullopt;
  return ids;
}

std::optional<std::vector<std::string>> RequestFields::Strings(std::string_view name, size_t max_count) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  std::vector<std::string> strings;
  if (element->is_string()) {
    strings.emplace_back(StringOf(*element));
  } else if (element->is_array()) {
    for (const dom::element item : ArrayOf(*element)) {
      if (!item.is_string()) {
        Fail(BadRequest(std::string(name), "{} must be a string or a list of strings, got {} in the list",
                        name, TypeName(item)));
        return std::nullopt;
      }
      strings.emplace_back(StringOf(item));
    }
  } else {
    WrongType(name, "a string or a list of strings");
    return std::nullopt;
  }
  if (strings.size() > max_count) {
    Fail(BadRequest(std::string(name), "{}: {} strings, at most {} are allowed", name, strings.size(),
                    max_count));
    return std::nullopt;
  }
  for (const std::string& text : strings) {
    if (text.empty()) {
      Fail(BadRequest(std::string(name), "{} cannot contain an empty string", name));
      return std::nullopt;
    }
  }
  return strings;
}

std::vector<std::pair<TokenId, float>> RequestFields::TokenBiases(std::string_view name, int32_t vocab_size,
                                                                  float max_abs) {
  const dom::element* element = document_->Find(name);
  std::vector<std::pair<TokenId, float>> biases;
  if (error_ || !element) return biases;
  if (!element->is_object()) {
    WrongType(name, "an object of token ids and biases");
    return biases;
  }
  for (const dom::key_value_pair field : ObjectOf(*element)) {
    TokenId id = -1;
    const char* const end = field.key.data() + field.key.size();
    const auto [parsed, code] = std::from_chars(field.key.data(), end, id);
    if (code != std::errc() || parsed != end || id < 0 || id >= vocab_size) {
      Fail(BadRequest(std::string(name), "{}: \"{}\" is no token id, expected 0 <= id < {}", name, field.key,
                      vocab_size));
      return biases;
    }
    if (!IsNumber(field.value)) {
      Fail(BadRequest(std::string(name), "{}: the bias of {} must be a number, got {}", name, id,
                      TypeName(field.value)));
      return biases;
    }
    const double bias = DoubleOf(field.value);
    if (!(std::abs(bias) <= max_abs)) {
      Fail(BadRequest(std::string(name), "{}: the bias of {} must be in [{}, {}], got {}", name, id, -max_abs,
                      max_abs, bias));
      return biases;
    }
    biases.emplace_back(id, static_cast<float>(bias));
  }
  return biases;
}

std::vector<PromptInput> RequestFields::Prompts(std::string_view name, int32_t vocab_size, size_t max_count) {
  std::vector<PromptInput> prompts;
  const dom::element* element = document_->Find(name);
  if (error_) return prompts;
  const std::string param(name);
  if (!element) {
    Fail(BadRequest(param, "{} must be given and not be empty", name));
    return prompts;
  }
  if (element->is_string()) {
    prompts.emplace_back(std::string(StringOf(*element)));
  } else if (element->is_array()) {
    const dom::array array = ArrayOf(*element);
    if (array.size() > 0 && IsNumber(*array.begin())) {
      std::optional<ApiError> error =
          ReadTokenIds(name, array, vocab_size, &prompts.emplace_back().emplace<1>());
      if (error) Fail(std::move(*error));
      return prompts;
    }
    for (const dom::element item : array) {
      if (prompts.size() == max_count) {
        Fail(BadRequest(param, "{} is a list of more than {} prompts", name, max_count));
      } else if (item.is_string()) {
        prompts.emplace_back(std::string(StringOf(item)));
      } else if (item.is_array()) {
        std::optional<ApiError> error =
            ReadTokenIds(name, ArrayOf(item), vocab_size, &prompts.emplace_back().emplace<1>());
        if (error) Fail(std::move(*error));
      } else {
        Fail(BadRequest(param, "{}: a list must hold strings, token ids or lists of token ids, got {}", name,
                        TypeName(item)));
      }
      if (error_) return prompts;
    }
  } else {
    WrongType(name, "a string, a list of strings, a list of token ids or a list of lists of token ids");
    return prompts;
  }
  bool empty = prompts.empty();
  for (const PromptInput& prompt : prompts)
    empty |= std::visit([](const auto& p) { return p.empty(); }, prompt);
  if (empty) Fail(BadRequest(param, "{} must not be empty", name));
  return prompts;
}

std::optional<Json> RequestFields::Value(std::string_view name) {
  const dom::element* element = document_->Find(name);
  if (error_ || !element) return std::nullopt;
  Json json;
  if (ToJson(*element, &json)) return json;
  Fail(BadRequest(std::string(name), "{}: an object has more than {} keys", name, kMaxKeys));
  return std::nullopt;
}

bool RequestFields::IsNeutral(std::string_view name, Neutral neutral) const {
  const dom::element* element = document_->Find(name);
  if (!element) return true;
  const auto is_number = [&](double value) { return IsNumber(*element) && DoubleOf(*element) == value; };
  switch (neutral) {
    case Neutral::kNull:
      return false;
    case Neutral::kFalse:
      return element->is_bool() && !BoolOf(*element);
    case Neutral::kTrue:
      return element->is_bool() && BoolOf(*element);
    case Neutral::kEmpty:
      if (element->is_array()) return ArrayOf(*element).size() == 0;
      if (element->is_object()) return ObjectOf(*element).size() == 0;
      return element->is_string() && StringOf(*element).empty();
    case Neutral::kZero:
      return is_number(0);
    case Neutral::kOne:
      return is_number(1);
    case Neutral::kMinusOne:
      return is_number(-1);
  }
  return false;
}

}  // namespace penstock
