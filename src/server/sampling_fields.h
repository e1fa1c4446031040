// The fields of a request that say how tokens are drawn and when to stop.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/request_parser.h"

namespace penstock {

// Fills request->sampling (but for log-probabilities) and n. Errors go to `fields`.
void ParseSamplingFields(const RequestRules& rules, RequestFields* fields, GenerationRequest* request);

}  // namespace penstock
