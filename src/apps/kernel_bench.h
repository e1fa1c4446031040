// KernelBench: how fast each operation of the kernels is, beside what the machine could do at most.
//
// The limit of a case is whichever of two takes longer: its arithmetic at the peak rate of its type, or its
// bytes at the bandwidth of memory. Rate, peak and share are those of the one that binds. Weights of
// successive runs, and rows of the operations that only move memory, are different copies, together larger
// than any cache, as those of successive layers are.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernels/kernels.h"
#include "kernels/peak.h"
#include "tensor/buffer.h"

namespace penstock {

struct KernelBenchOptions {
  bool quick = false;  // tiny shapes, one run of each: checks only that they work
  std::string only;    // cases with this text in "op shape dtype"
};

struct KernelBenchRow {
  std::string op, shape, dtype;
  double rate = 0;
  double peak = 0;   // 0: not known
  double share = 0;  // rate / peak; 0 where that is not known
  std::string unit;  // of rate and peak: "GFLOP/s", "GOP/s" (int8) or "GB/s"
  double bytes = 0;  // that a run moves at least: weights, cache, rows read and written
  double median_us = 0;
};

class KernelBench {
 public:
  // `kernels` and `on_row` outlive this.
  KernelBench(Kernels& kernels, const Peaks& peaks, const KernelBenchOptions& options,
              const std::function<void(const KernelBenchRow&)>& on_row)
      : kernels_(kernels), peaks_(peaks), options_(options), on_row_(on_row) {}

  // Calls on_row for every case, when it is measured.
  void Run() {
    RunLinear();
    RunAttention();
    RunMoe();
    RunRows();
  }

 private:
  struct Case {
    std::string op, shape;
    std::string_view dtype;  // "bf16" or "int8"
    double operations = 0;   // a multiplication and an addition are two
    double bytes = 0;
  };

  void RunLinear();     // kernel_bench_linear.cc
  void RunMoe();        // kernel_bench_moe.cc
  void RunAttention();  // kernel_bench_attention.cc
  void RunRows();       // kernel_bench_rows.cc

  void LinearShape(std::string_view name, int64_t n, int64_t k, bool int8);
  void MoeLayer(bool int8);
  void Gqa(int32_t len, int32_t context, DType kv_dtype);
  void Mla(int32_t len, int32_t context, MlaForm form);

  bool Wanted(const Case& one) const;
  // Times `run(i)`, i the number of the run, and reports the median.
  void Measure(const Case& one, const std::function<void(size_t i)>& run) const;
  // Copies of `bytes` each that make up more than the caches.
  size_t NumCopies(size_t bytes) const;

  Kernels& kernels_;
  const Peaks peaks_;
  const KernelBenchOptions options_;
  const std::function<void(const KernelBenchRow&)>& on_row_;
};

// The row of a case that takes `seconds`.
KernelBenchRow MakeKernelBenchRow(std::string op, std::string shape, std::string_view dtype,
                                  double operations, double bytes, double seconds, const Peaks& peaks);

// `count` bf16 numbers in [-1, 1).
Buffer RandomBf16Buffer(int64_t count);

}  // namespace penstock
