// The x86 vector intrinsics: the compiler's own, or, where PENSTOCK_EMULATE_SIMD is defined before this header,
// SIMDe's portable ones. Tests use the latter to run kernels for instruction sets that the machine lacks.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef PENSTOCK_EMULATE_SIMD
#include "kernels/cpu/simd_emulated.h"
#else
// gcc 12 takes the deliberately undefined operands inside of its AVX-512 intrinsics for mistakes (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
