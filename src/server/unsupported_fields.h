// The fields that other servers of this API know and this one does not implement. One that asks for something
// is refused by name: a request is never answered as if it had not asked.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/generation_request.h"

namespace penstock {

void RejectUnsupportedFields(Endpoint endpoint, RequestFields* fields);

}  // namespace penstock
