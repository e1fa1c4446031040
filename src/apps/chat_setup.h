// The chat template of a command: the model's own or the operator's, with default arguments.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace penstock {

// `flag`: --chat-template, a file or the template itself; empty: the model's own. `default_kwargs` (object or
// null) are given to every rendering; a request's own win. Null where the model has no template and `flag` is
// empty.
Result<std::unique_ptr<ChatTemplate>> MakeChatTemplate(const std::string& model_dir, const std::string& flag,
                                                       const Json& default_kwargs,
                                                       const Tokenizer& tokenizer);

// `inner` with default arguments.
std::unique_ptr<ChatTemplate> WithDefaultKwargs(std::unique_ptr<ChatTemplate> inner, Json default_kwargs);

}  // namespace penstock
