// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock {

// The OpenAPI 3.1 document of this API, for /openapi.json: paths, the fields of requests, and the shape of
// errors.
std::string OpenApiDocument(const std::string& version);

}  // namespace penstock
