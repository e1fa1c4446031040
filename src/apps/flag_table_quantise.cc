// The flags of `quantize`, which serves nothing.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_spec.h"

namespace penstock {
namespace {

using enum FlagKind;
constexpr FlagClass kDo = FlagClass::kImplemented;

constexpr FlagSpec kQuantiseFlags[] = {
    {"scheme", "", kString, kDo, "quantize", "",
     "w8a8: attention with one scale and offset for all inputs, taken from the calibration data, MLP and "
     "experts "
     "as in w8a8-dynamic. w8a8-dynamic: a scale for each token. Needed.",
     "w8a8|w8a8-dynamic"},
    {"calibration-data", "", kString, kDo, "quantize", "",
     "File of texts: plain text, or JSON lines with \"text\", \"prompt\" or \"messages\". w8a8 needs it; "
     "without it w8a8-dynamic smooths nothing, and no errors are reported."},
    {"calibration-tokens", "", kSize, kDo, "quantize", "8192", "Most tokens of it that are used.", "", 1,
     1 << 24},
    {"calibration-len", "", kSize, kDo, "quantize", "512", "Longest text in tokens; longer ones are cut.", "",
     1, 1 << 20},
    {"smooth", "", kBool, kDo, "quantize", "true",
     "Move outliers of the inputs that the calibration data show into the weights, by powers of two "
     "(SmoothQuant): the float model stays what it is, and its 8-bit form comes nearer to it."},
    {"max-file-size", "", kSize, kDo, "quantize", "4G", "Largest file of weights.", "", 1},
    {"threads", "", kInt, kDo, "quantize", "", "Threads. Unset: one for each core of this machine.", "", 1,
     4096},
    {"kernel-isa", "", kString, kDo, "quantize", "auto",
     "Kernels: auto (the best that this processor can run), ref (plain loops, slow), or a name: generic, "
     "avx2, "
     "avx512, avx512_vnni, avx512_bf16, …"},
    {"json", "", kBool, kDo, "quantize", "false", "Print one JSON object instead of a table."},
};

}  // namespace

std::span<const FlagSpec> QuantiseFlags() { return kQuantiseFlags; }
FlagTable QuantiseTable() { return {QuantiseFlags()}; }

}  // namespace penstock
