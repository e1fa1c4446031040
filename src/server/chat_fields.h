// The fields of a chat request that make its prompt: messages, tools and how to render them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/request_fields.h"
#include "text/chat_template.h"

namespace penstock {

// Fills `input`. Errors go to `fields`.
void ParseChatFields(RequestFields* fields, ChatTemplateInput* input);

}  // namespace penstock
