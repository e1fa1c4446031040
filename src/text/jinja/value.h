// Value: a Python value, as far as chat templates know them. Strings, lists and dicts are shared and never
// change (transformers' sandbox forbids it too); a namespace is the one thing that does.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "text/jinja/context.h"

namespace penstock::jinja {

using Int = __int128;  // Python's have no limit; this holds all that JSON brings, and overflow is an error

class Value;
struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;

// Live bytes of a shared object, given back when it dies. `context` is null for a template's constants.
struct Tracked {
  Context* context = nullptr;
  size_t bytes = 0;
  Tracked() = default;
  Tracked(Context& context, size_t bytes) : context(&context), bytes(bytes) {}
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;
  ~Tracked() {
    if (context != nullptr) context->Release(bytes);
  }
};

struct String : Tracked {
  explicit String(std::string text) : text(std::move(text)) {}
  String(Context& context, size_t bytes, std::string text) : Tracked(context, bytes), text(std::move(text)) {}
  const std::string text;
};

struct Undefined {
  const std::string* name = nullptr;  // of the variable or attribute that is missing; lives in the template
};
struct None {};

enum class ListKind {
  kList,
  kTuple,
  kGenerator,  // what map, select and their kin give: true even if empty, without length or items
};

using Items = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

class Value {
 public:
  Value() = default;  // undefined
  Value(Undefined undefined) : data_(undefined) {}
  Value(None none) : data_(none) {}
  Value(bool boolean) : data_(boolean) {}
  Value(Int integer) : data_(integer) {}
  Value(double number) : data_(number) {}
  Value(Namespace* object) : data_(object) {}
  Value(std::shared_ptr<const Loop> loop) : data_(std::move(loop)) {}
  Value(std::shared_ptr<const String> string) : data_(std::move(string)) {}
  Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  Value(const char*) = delete;  // would be a bool

  // These count against the context's budget, and are undefined if it is used up.
  static Value MakeString(Context& context, std::string text);
  static Value MakeList(Context& context, Items items, ListKind kind = ListKind::kList);
  // Of equal keys the last wins and the first gives the place, as in Python. A key that cannot be hashed
  // fails.
  static Value MakeDict(Context& context, Entries entries);
  static Value FromJson(Context& context, const Json& json);
  // A constant of the template.
  static Value Constant(std::string text) { return Value(std::make_shared<const String>(std::move(text))); }

  bool is_undefined() const { return Is<Undefined>(); }
  bool is_none() const { return Is<None>(); }
  bool is_bool() const { return Is<bool>(); }
  bool is_int() const { return Is<Int>(); }
  bool is_float() const { return Is<double>(); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }
  bool is_string() const { return Is<std::shared_ptr<const String>>(); }
  bool is_list() const { return Is<std::shared_ptr<const List>>(); }  // of any ListKind
  bool is_sequence() const;                                           // a list or a tuple
  bool is_tuple() const;
  bool is_dict() const { return Is<std::shared_ptr<const Dict>>(); }
  bool is_namespace() const { return Is<Namespace*>(); }
  bool is_loop() const { return Is<std::shared_ptr<const Loop>>(); }
  bool is_callable() const { return Is<std::shared_ptr<const Callable>>() || is_loop(); }

  const std::string* undefined_name() const { return std::get<Undefined>(data_).name; }
  bool boolean() const { return std::get<bool>(data_); }
  const std::string& string() const { return std::get<std::shared_ptr<const String>>(data_)->text; }
  const std::shared_ptr<const List>& list() const { return std::get<std::shared_ptr<const List>>(data_); }
  const Items& items() const;
  const std::shared_ptr<const Dict>& dict() const { return std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace* name_space() const { return std::get<Namespace*>(data_); }
  const Loop& loop() const { return *std::get<std::shared_ptr<const Loop>>(data_); }
  const Callable& callable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }

  // Of a bool or an int; a float must not be asked.
  Int integer() const { return is_bool() ? Int{boolean()} : std::get<Int>(data_); }
  // Of any number.
  double number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }

  bool Truthy() const;
  // How deep lists and dicts are nested in this one.
  int depth() const;
  // As Python names the type in its messages: "str", "dict".
  const char* type_name() const;
  // The same object, or equal numbers, None or undefined (`is sameas`).
  bool SameAs(const Value& other) const;

 private:
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }
  std::variant<Undefined, None, bool, Int, double, std::shared_ptr<const String>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, Namespace*, std::shared_ptr<const Loop>,
               std::shared_ptr<const Callable>>
      data_;
};

struct List : Tracked {
  List(Context& context, size_t bytes, Items items, ListKind kind, int depth)
      : Tracked(context, bytes), items(std::move(items)), kind(kind), depth(depth) {}
  const Items items;
  const ListKind kind;
  const int depth;
};

struct Dict : Tracked {
  Dict(Context& context, size_t bytes, Entries entries, int depth);
  const Value* Find(std::string_view key) const;
  // Of any type of key; null also for one that cannot be hashed.
  const Value* Find(const Value& key) const;

  const Entries entries;  // in order of insertion
  const int depth;

 private:
  std::unordered_map<std::string_view, size_t> index_;  // of string keys, where there are many
};

// `namespace(…)`: made by the template, owned by the context.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);
};

inline const Items& Value::items() const { return list()->items; }
inline bool Value::is_sequence() const { return is_list() && list()->kind != ListKind::kGenerator; }
inline bool Value::is_tuple() const { return is_list() && list()->kind == ListKind::kTuple; }

}  // namespace penstock::jinja
