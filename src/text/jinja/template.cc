// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/template.h"

#include <memory>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace penstock::jinja {

Result<Template> Template::Parse(std::string_view source) {
  ASSIGN_OR_RETURN(Block block, ParseTemplate(source));
  return Template(std::move(block));
}

Result<std::string> Template::Render(const std::vector<std::pair<std::string, const Json*>>& variables,
                                     std::time_t now, const Limits& limits) const {
  Context context(limits, now);
  std::string text;
  {
    const auto root = std::make_shared<Scope>(nullptr);
    for (const auto& [name, json] : variables) root->Set(name, Value::FromJson(context, *json));
    if (!context.failed()) text = Interpreter(context).Run(block_, *root);
  }
  if (context.failed()) return context.status();
  return text;
}

}  // namespace penstock::jinja
