// What `bench kernels` prints.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "apps/kernel_bench.h"
#include "base/json.h"

namespace penstock {

// The processor, the kernels' name, the threads, and the peaks that everything is compared with.
std::string KernelBenchHeading(std::string_view cpu, std::string_view kernels, int num_threads,
                               const Peaks& peaks);

// The line of column names, and one for each row.
std::string KernelBenchColumns();
std::string KernelBenchLine(const KernelBenchRow& row);

// [{"op", "shape", "dtype", "rate", "peak", "share", "unit", "bytes", "median_us"}, …]; peak and share are
// null where the peak is not known.
Json KernelBenchJson(std::span<const KernelBenchRow> rows);

}  // namespace penstock
