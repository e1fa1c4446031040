// Template: a Jinja2 template as transformers runs chat templates (trim_blocks, lstrip_blocks, loopcontrols,
// the generation tag; a sandbox without effects), in a closed interpreter with limits.
//
// Thread-safe: Render() is const and shares nothing.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/jinja/ast.h"
#include "text/jinja/context.h"

namespace penstock::jinja {

class Template {
 public:
  // kInvalidArgument with the line.
  static Result<Template> Parse(std::string_view source);

  // The text of the template with these variables (of equal names the last counts). `now` is for
  // strftime_now. kInvalidArgument with the line, or with what raise_exception says.
  Result<std::string> Render(const std::vector<std::pair<std::string, const Json*>>& variables,
                             std::time_t now, const Limits& limits = Limits()) const;

 private:
  explicit Template(Block block) : block_(std::move(block)) {}
  Block block_;
};

}  // namespace penstock::jinja
