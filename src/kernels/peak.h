// What the processor could do at most: the yardstick of benchmarks and profiles, measured in the same run.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace penstock {

class ThreadTeam;

// Multiply-adds of fp32 from registers, on all threads of the team, in GFLOP/s, with the widest vectors that
// the processor has. Two operations for each multiply-add.
double MeasureFmaPeak(ThreadTeam& team);

// The same of dot products of bf16 pairs; 0 if the processor has none.
double MeasureBf16DotPeak(ThreadTeam& team);

// The same of dot products of four 8-bit integers; 0 if the processor has none.
double MeasureInt8DotPeak(ThreadTeam& team);

// Reading memory that is in no cache, by all threads, in GB/s (1e9).
double MeasureReadBandwidth(ThreadTeam& team);

// What kernels of that name (Kernels::name()) could reach at most. 0: not known.
struct Peaks {
  double f32_gflops = 0;
  double bf16_gflops = 0;  // that of fp32 where the kernels have no dot product of bf16
  double int8_gops = 0;
  double read_gb_per_s = 0;
};
Peaks MeasurePeaks(ThreadTeam& team, std::string_view kernels_name);

}  // namespace penstock
