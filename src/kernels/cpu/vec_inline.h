// SPDX-License-Identifier: Apache-2.0
#pragma once

// For functions of the per-ISA headers: internal linkage, and part of the loop that calls them.
#define PENSTOCK_INLINE [[gnu::always_inline]] static inline
#define PENSTOCK_MEMBER [[gnu::always_inline]] inline  // the same of members that are not static
