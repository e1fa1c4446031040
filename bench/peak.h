// What the processor could do at most: the yardstick of the benchmarks, measured in the same run.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penstock {

class ThreadTeam;

// Multiply-adds of fp32 from registers, on all threads of the team, in GFLOP/s, with the widest vectors that
// the processor has. Two operations for each multiply-add.
double MeasureFmaPeak(ThreadTeam& team);

// The same of dot products of bf16 pairs; 0 if the processor has none.
double MeasureBf16DotPeak(ThreadTeam& team);

// Reading memory that is in no cache, by all threads, in GB/s (1e9).
double MeasureReadBandwidth(ThreadTeam& team);

}  // namespace penstock
