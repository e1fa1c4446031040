// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/value.h"

#include <algorithm>
#include <limits>

namespace penstock::jinja {
namespace {

constexpr int kMaxValueDepth = 200;  // destructors and printers recurse
constexpr size_t kIndexFrom = 16;    // entries; below, a scan is as quick as hashing
constexpr size_t kObjectBytes = 64;  // of a shared object beside its contents

bool Hashable(const Value& key) {
  if (key.is_dict()) return false;
  if (!key.is_list()) return true;
  return key.is_tuple() && std::ranges::all_of(key.items(), Hashable);
}

// Equality of hashable values, which cannot be deep: 1 == 1.0 == True.
bool KeysEqual(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) return std::ranges::equal(a.items(), b.items(), KeysEqual);
  return a.SameAs(b);
}

}  // namespace

Value Value::MakeString(Context& context, std::string text) {
  const size_t bytes = text.size() + kObjectBytes;
  if (!context.Charge(bytes)) return Value();
  return Value(std::make_shared<const String>(context, bytes, std::move(text)));
}

Value Value::MakeList(Context& context, Items items, ListKind kind) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) context.Fail("a list nested deeper than {}", kMaxValueDepth);
  const size_t bytes = items.size() * sizeof(Value) + kObjectBytes;
  if (context.failed() || !context.Charge(bytes)) return Value();
  return Value(std::make_shared<const List>(context, bytes, std::move(items), kind, depth + 1));
}

Value Value::MakeDict(Context& context, Entries entries) {
  int depth = 0;
  Entries unique;
  unique.reserve(entries.size());
  std::unordered_map<std::string, size_t> places;
  const bool many = entries.size() > kIndexFrom;
  for (auto& [key, value] : entries) {
    if (!Hashable(key)) context.Fail("unhashable type: '{}'", key.type_name());
    if (!context.Step()) return Value();
    depth = std::max({depth, key.depth(), value.depth()});
    size_t place = unique.size();
    if (many && key.is_string()) {
      place = places.try_emplace(key.string(), unique.size()).first->second;
    } else {
      if (!context.Step(unique.size())) return Value();
      place = std::ranges::find_if(unique, [&](const auto& entry) { return KeysEqual(entry.first, key); }) -
              unique.begin();
    }
    if (place < unique.size()) {
      unique[place].second = std::move(value);
    } else {
      unique.emplace_back(std::move(key), std::move(value));
    }
  }
  if (depth >= kMaxValueDepth) context.Fail("a dict nested deeper than {}", kMaxValueDepth);
  const size_t bytes = unique.size() * (many ? 4 : 2) * sizeof(Value) + kObjectBytes;
  if (context.failed() || !context.Charge(bytes)) return Value();
  return Value(std::make_shared<const Dict>(context, bytes, std::move(unique), depth + 1));
}

Value Value::FromJson(Context& context, const Json& json) {
  const Context::Deeper deeper(context);
  if (context.failed()) return Value();
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(Int{json.get<int64_t>()});
    case Json::value_t::number_unsigned:
      return Value(Int{json.get<uint64_t>()});
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return MakeString(context, json.get_ref<const std::string&>());
    case Json::value_t::array: {
      Items items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(FromJson(context, item));
      return MakeList(context, std::move(items));
    }
    case Json::value_t::object: {
      Entries entries;
      entries.reserve(json.size());
      for (const auto& [key, value] : json.items()) {
        entries.emplace_back(MakeString(context, key), FromJson(context, value));
      }
      return MakeDict(context, std::move(entries));
    }
    default:
      return Value(None{});
  }
}

bool Value::Truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_int()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !items().empty() || !is_sequence();
  if (is_dict()) return !dict()->entries.empty();
  return true;
}

int Value::depth() const { return is_list() ? list()->depth : is_dict() ? dict()->depth : 0; }

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return is_tuple() ? "tuple" : is_sequence() ? "list" : "generator";
  if (is_dict()) return "dict";
  if (is_namespace()) return "Namespace";
  return "function";
}

bool Value::SameAs(const Value& other) const {
  if (is_number() && other.is_number()) {
    return is_float() || other.is_float() ? number() == other.number() : integer() == other.integer();
  }
  if (is_string() && other.is_string()) return string() == other.string();
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return list() == other.list();
  if (is_dict()) return dict() == other.dict();
  if (is_namespace()) return name_space() == other.name_space();
  return is_none() || is_undefined();
}

Dict::Dict(Context& context, size_t bytes, Entries all_entries, int depth)
    : Tracked(context, bytes), entries(std::move(all_entries)), depth(depth) {
  if (entries.size() <= kIndexFrom) return;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].first.is_string()) index_.emplace(entries[i].first.string(), i);
  }
}

const Value* Dict::Find(std::string_view key) const {
  if (entries.size() > kIndexFrom) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [entry_key, value] : entries) {
    if (entry_key.is_string() && entry_key.string() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) return Find(std::string_view(key.string()));
  for (const auto& [entry_key, value] : entries) {
    if (!entry_key.is_string() && KeysEqual(entry_key, key)) return &value;
  }
  return nullptr;
}

const Value* Namespace::Find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Namespace::Set(std::string_view name, Value value) {
  for (auto& [key, old] : attributes) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  attributes.emplace_back(name, std::move(value));
}

}  // namespace penstock::jinja
