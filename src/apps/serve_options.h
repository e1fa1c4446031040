// The options of the HTTP server from flags, and the resolved configuration for people.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "base/json.h"
#include "base/status.h"
#include "server/server.h"

namespace penstock {

// All but ServerOptions::server_info. Reads generation_config.json, and tokenizer_config.json where that is
// served.
Result<ServerOptions> MakeServerOptions(const CommandSetup& setup);

// What was resolved, by the names of the flags: for the log and for /server_info. Holds no key.
Json DescribeConfig(const RunConfig& run, const EnginePlan& plan);

}  // namespace penstock
