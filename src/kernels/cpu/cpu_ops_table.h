// The CpuOps table of a Dense type. For the per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dense_kernel.h"
#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/gqa_tile.h"
#include "kernels/cpu/int8_quantize.h"

namespace penstock {
namespace {

template <typename S>
constexpr CpuOps kCpuOpsTable = {
    .panel_cols = S::kPanelCols,
    .max_tile_rows = S::kMaxTileRows,
    .tile_row_multiple = S::kGemmRows,
    .gemm_scratch_bytes = &GemmScratchBytes<S>,
    .gemm = &RunGemm<S>,
    .pack_panel = &PackOnePanel<S>,
    .quantize_rows = &Quantize<S>,
    .convert = &Convert<S>,
    .rms_norm = &RmsNorm<S>,
    .add = &AddRows<S>,
    .rope = &Rope<S>,
    .gqa_tile = &RunGqaTile<S>,
    .silu_mul = &SiluMul<S>,
    .add_scaled = &AddScaled<S>,
};

}  // namespace
}  // namespace penstock
