// The x86 vector intrinsics: the compiler's own, or, where PENSTOCK_EMULATE_SIMD is defined before this
// header, SIMDe's portable ones, with which tests run kernels that the machine has no instructions for.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef PENSTOCK_EMULATE_SIMD
#include "kernels/cpu/simd_emulated.h"
#else
// gcc 12 takes the deliberately undefined operands inside of its own intrinsics for mistakes (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
