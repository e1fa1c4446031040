// FlagSpec: one line of the table of flags. Names, short names and meanings are vLLM's where vLLM has the
// flag.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

enum class FlagKind {
  kBool,        // --x, --no-x; --enable-x also has --disable-x
  kInt,         // plain integer
  kSize,        // integer with an optional k m g t (decimal) or K M G T (binary)
  kSizeOrAuto,  // as kSize; "auto" is -1
  kFloat,
  kString,
  kOptionalString,  // the value may be left out
  kList,            // one or more words, or a JSON array of strings
  kJson,            // --x '{…}', --x.key value, --x.key+ item
};

enum class FlagClass {
  kImplemented,
  kNoOp,         // accepted: it has no meaning here, and a line in the log says why
  kUnsupported,  // start fails and says why, unless the value is a harmless one
};

struct FlagSpec {
  std::string_view name;     // without "--", words joined by '-'
  std::string_view aliases;  // "-tp", "--device-memory-utilization"
  FlagKind kind;
  FlagClass flag_class;
  std::string_view group;
  std::string_view default_text;  // as one would type it; empty: not set
  std::string_view help;          // implemented: what it does; else why it has no effect, or is not supported
  // Strings: the values allowed, joined by '|'; empty: any. Of an unsupported flag: the harmless values (its
  // default is always harmless).
  std::string_view choices = "";
  double min = -std::numeric_limits<double>::infinity();  // of numbers; kSizeOrAuto: -1 is allowed besides
  double max = std::numeric_limits<double>::infinity();
};

// The flags of a command: several tables, read in order.
using FlagTable = std::vector<std::span<const FlagSpec>>;

std::span<const FlagSpec> ImplementedFlags();  // of every command that runs a model
std::span<const FlagSpec> ServerFlags();       // of `serve` only
std::span<const FlagSpec> NoOpFlags();
std::span<const FlagSpec> UnsupportedModelFlags();
std::span<const FlagSpec> UnsupportedSystemFlags();
std::span<const FlagSpec> UnsupportedFrontendFlags();
std::span<const FlagSpec> CompleteFlags();      // of `complete` only
std::span<const FlagSpec> BenchLatencyFlags();  // of `bench latency` only
std::span<const FlagSpec> BenchKernelsFlags();  // of `bench kernels`
std::span<const FlagSpec> BenchLayoutsFlags();  // of `bench layouts` only
std::span<const FlagSpec> CalibrateFlags();     // of `calibrate` only
std::span<const FlagSpec> SimulationFlags();    // of `simulate` and `plan`
std::span<const FlagSpec> SimulateFlags();      // of `simulate` only
std::span<const FlagSpec> LayoutFlags();        // of `simulate --layouts`
std::span<const FlagSpec> PlanFlags();          // of `plan` only
std::span<const FlagSpec> QuantiseFlags();      // of `quantize`

FlagTable ServeTable();
FlagTable CompleteTable();
FlagTable BenchLatencyTable();
FlagTable BenchKernelsTable();
FlagTable BenchLayoutsTable();
FlagTable CalibrateTable();
FlagTable SimulateCommandTable();
FlagTable PlanCommandTable();
FlagTable QuantiseTable();

}  // namespace penstock
