// Python's operators on values. What Python refuses fails, and gives undefined.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace penstock::jinja {

// "+", "-", "*", "/", "//", "%", "**".
Value Arithmetic(Context& context, std::string_view op, const Value& a, const Value& b);
Value Negate(Context& context, const Value& value);

bool Equal(Context& context, const Value& a, const Value& b);
// a < b; fails for values that have no order.
bool Less(Context& context, const Value& a, const Value& b);
bool Contains(Context& context, const Value& container, const Value& item);
// One of "==", "!=", "<", "<=", ">", ">=", "in", "not in".
bool Compare(Context& context, std::string_view op, const Value& a, const Value& b);

// value.name as Jinja2 has it: a method, else an item, else undefined.
Value GetAttribute(Context& context, const Value& value, const std::string& name);
// value[key]: an item, else (for a string) an attribute, else undefined.
Value GetItem(Context& context, const Value& value, const Value& key);
// value[start:stop:step], where undefined means "not given".
Value GetSlice(Context& context, const Value& value, const Value& start, const Value& stop,
               const Value& step);

// What `for` goes through: list items, dict keys, characters; nothing of undefined. Fails for what is not
// iterable, then null.
std::shared_ptr<const List> ToList(Context& context, const Value& value);
// len(); fails for what has none.
size_t Length(Context& context, const Value& value);

}  // namespace penstock::jinja
