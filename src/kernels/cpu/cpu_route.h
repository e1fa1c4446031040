// Router logits to expert choices, row by row.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kernels.h"

namespace penstock {

// CHECKs what RouteRows relies on.
void CheckRouterShape(const RouterShape& shape);

// As Kernels::RouteTopK, on the calling thread. The same choice as the reference kernels' to the last bit:
// equal scores go to the lower index, and scores are computed by the same scalar steps.
void RouteRows(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights);

}  // namespace penstock
