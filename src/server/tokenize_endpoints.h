// POST /tokenize and /detokenize. Long texts: all runs in the worker pool.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "server/prompt_tokens.h"
#include "server/request_parser.h"

namespace penstock {

// The answer to a request's body.
HttpResponse AnswerTokenize(const PromptTools& tools, const RequestRules& rules, const std::string& body);
HttpResponse AnswerDetokenize(const PromptTools& tools, const RequestRules& rules, const std::string& body);

}  // namespace penstock
