// The flags of `bench kernels`, which runs no model, and of `bench layouts`.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_spec.h"

namespace penstock {
namespace {

using enum FlagKind;
constexpr FlagClass kDo = FlagClass::kImplemented;

constexpr FlagSpec kBenchKernelsFlags[] = {
    {"threads", "", kInt, kDo, "bench kernels", "", "Threads. Unset: one for each core of this machine.", "",
     1, 4096},
    {"kernel-isa", "", kString, kDo, "bench kernels", "auto",
     "Kernels: auto (the best that this processor can run), or a name: generic, avx2, avx512, avx512_vnni, "
     "avx512_bf16, …"},
    {"only", "", kString, kDo, "bench kernels", "",
     "Only cases with this text in \"operation shape dtype\": \"linear\", \"gqa\", \"int8\"."},
    {"quick", "", kBool, kDo, "bench kernels", "false",
     "Tiny shapes, one run of each: shows that all works, not how fast it is."},
    {"json", "", kBool, kDo, "bench kernels", "false", "Print a JSON array instead of a table."},
};

constexpr FlagSpec kBenchLayoutsFlags[] = {
    {"ranks", "", kInt, kDo, "bench layouts", "2", "Ranks of each layout.", "", 1, 1024},
    {"layouts", "", kList, kDo, "bench layouts", "",
     "Layouts to measure: pp2 tp2 pcp2, or pp2tp2+ep. Unset: all that so many ranks can have."},
    {"input-lens", "", kList, kDo, "bench layouts", "[\"1K\"]",
     "Tokens of the prompts (random ids): 4K 16K 64K."},
    {"num-requests", "", kInt, kDo, "bench layouts", "8", "Requests of each length.", "", 1, 1 << 20},
    {"concurrency", "", kInt, kDo, "bench layouts", "4",
     "Clients, each of which sends its next request when the last one has ended.", "", 1, 1 << 16},
    {"prefix-hit", "", kFloat, kDo, "bench layouts", "0",
     "Share of each prompt that is in the prefix cache when it comes.", "", 0, 1},
    {"json", "", kBool, kDo, "bench layouts", "false", "Print one JSON object instead of a table."},
    {"output-json", "", kString, kDo, "bench layouts", "", "Also write the JSON to this file."},
};

}  // namespace

std::span<const FlagSpec> BenchKernelsFlags() { return kBenchKernelsFlags; }
std::span<const FlagSpec> BenchLayoutsFlags() { return kBenchLayoutsFlags; }
FlagTable BenchKernelsTable() { return {BenchKernelsFlags()}; }

FlagTable BenchLayoutsTable() {
  return {BenchLayoutsFlags(), ImplementedFlags(), NoOpFlags(), UnsupportedModelFlags(),
          UnsupportedSystemFlags()};
}

}  // namespace penstock
