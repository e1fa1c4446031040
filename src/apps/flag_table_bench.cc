// The flags of `bench kernels`, which runs no model.
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

}  // namespace

std::span<const FlagSpec> BenchKernelsFlags() { return kBenchKernelsFlags; }
FlagTable BenchKernelsTable() { return {BenchKernelsFlags()}; }

}  // namespace penstock
