// How much work a call is: counted from shapes, whatever a backend really does.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "kernels/profile/op_profile.h"

namespace penstock {

// By the memory that a weight takes: what the matrix is held, and multiplied, as.
Arithmetic ArithmeticOf(const PackedMat& w);
Arithmetic ArithmeticOf(DType dtype);

double MatBytes(const ConstMat& mat);

// Pairs of a query and a key that it sees.
double CausalPairs(const SeqSpan& span);

OpWork LinearWork(const ConstMat& x, const PackedMat& w, const Mat& y, bool accumulate);

// Bytes are those of keys and values, read once for each span.
OpWork GqaWork(std::span<const SeqSpan> spans, const GqaShape& shape, const KvLayerView& cache);

// Of whichever of the two forms takes less (MlaForm).
OpWork MlaWork(std::span<const SeqSpan> spans, const MlaShape& shape, const KvLayerView& cache);

// Bytes are those of the weights, as if each choice were of another expert, and of the activations.
OpWork MoeWork(const ConstMat& x, const int32_t* ids, int32_t top_k, const ExpertWeights& experts);

}  // namespace penstock
