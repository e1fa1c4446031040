// OpProfile: where the time of one rank's steps goes, operation by operation. Off unless a rank is given one:
// ProfilingKernels (profiling_kernels.h) fills it, the rank's stage says where steps begin and end.
//
//   |<----------------- step ----------------->|
//   | RmsNorm | Linear | | Linear | Sample |   |      the gaps are "between operations": lost
//
// Thread safety: BeginStep(), Record() and EndStep() from the rank's thread; Take() from any.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

namespace penstock {

// What an operation computes with, as far as it has a peak rate of its own.
enum class Arithmetic { kNone, kF32, kBF16, kInt8 };
inline constexpr size_t kNumArithmetics = 4;

// An operation and the shape that tells its calls apart; rows are not part of it.
struct OpKey {
  std::string_view op;  // a literal: "Linear"
  Arithmetic arithmetic = Arithmetic::kNone;
  std::array<int64_t, 2> dims = {0, 0};  // Linear: k, n; attention: heads, head_dim; 0: no such dimension

  bool operator==(const OpKey&) const = default;
};

struct OpWork {
  double flops = 0;  // of the mathematics: padding, and what is computed twice, do not count
  double bytes = 0;  // read and written, each operand once
};

struct OpStats {
  OpKey key;
  int64_t calls = 0;
  int64_t time_ns = 0;
  OpWork work;
};

enum class StepKind { kPrefill, kDecode };  // decode: every chunk of the step is one token
inline constexpr size_t kNumStepKinds = 2;

// The sums over all steps of one kind.
struct PhaseProfile {
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t time_ns = 0;       // from the begin to the end of each step
  std::vector<OpStats> ops;  // in the order of their first calls

  int64_t between_ops_ns() const;
};

class OpProfile {
 public:
  static int64_t NowNs();

  void BeginStep(StepKind kind, int64_t num_tokens);
  void Record(const OpKey& key, int64_t begin_ns, int64_t end_ns, const OpWork& work);
  void EndStep();

  // What the steps that have ended add up to, by StepKind; begins anew.
  std::array<PhaseProfile, kNumStepKinds> Take();

 private:
  std::mutex mutex_;
  StepKind kind_ = StepKind::kPrefill;  // GUARDED_BY(mutex_), as what follows
  int64_t begin_ns_ = 0;                // 0: in no step
  std::array<PhaseProfile, kNumStepKinds> phases_ = {};
};

}  // namespace penstock
