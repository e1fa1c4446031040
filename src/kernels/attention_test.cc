// Attention of every instruction set that this machine can run or emulate, against the reference.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/attention_emulated_test.h"
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

std::vector<const AttentionOps*> TestedOps() {
  std::vector<const AttentionOps*> all = {&GenericAttentionOps()};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&Avx2AttentionOps());
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    all.push_back(&Avx512AttentionOps());
  if (__builtin_cpu_supports("avx512bf16")) all.push_back(&Avx512Bf16AttentionOps());
  for (const AttentionOps* ops : {EmulatedAvx512AttentionOps(), EmulatedAvx512Bf16AttentionOps()}) {
    if (ops) all.push_back(ops);
  }
  return all;
}

// Whether bf16 operands stay bf16 (and so do probabilities) instead of becoming fp32.
bool RoundsToBf16(const AttentionOps& ops, DType cache) {
  return cache != DType::kF32 && std::string(ops.name).ends_with("avx512_bf16");
}

// Whether products with bytes are products of bytes, and probabilities are rounded to 8 bits for them.
bool MultipliesBytes(const AttentionOps& ops, DType cache) {
  return cache == DType::kI8 && std::string(ops.name).ends_with("avx512_bf16");
}

// Bounds of MaxRelativeError: of fp32 arithmetic, of probabilities and expanded keys rounded to bf16, and of
// outputs rounded to bf16 (twice half a unit in the last place, for a result on the other side of a tie).
double FloatTolerance(const AttentionOps& ops, DType cache, DType out) {
  return (RoundsToBf16(ops, cache) ? 1.5e-2 : 2e-5) + (out == DType::kBF16 ? 8e-3 : 0.0);
}

// The root mean square of the differences, relative to that of the numbers.
double RmsError(const TestMat& got, const TestMat& want) {
  double errors = 0, squares = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double difference = static_cast<double>(got.Get(i)) - want.Get(i);
    errors += difference * difference;
    squares += static_cast<double>(want.Get(i)) * want.Get(i);
  }
  return std::sqrt(errors / squares);
}

double Tolerance(const AttentionOps& ops, DType cache, DType out) {
  return MultipliesBytes(ops, cache) ? 0.1 : FloatTolerance(ops, cache, out);  // RmsError says more
}

struct Sequence {
  int32_t pos;  // history
  int32_t len;  // in this step
};

std::vector<int32_t> Contexts(const std::vector<Sequence>& sequences) {
  std::vector<int32_t> contexts;
  for (const Sequence& sequence : sequences) contexts.push_back(sequence.pos + sequence.len);
  return contexts;
}

// Spans of whole contexts (to store them) or of the steps; rows are given out in order, or in reverse.
std::vector<SeqSpan> StoreSpans(const std::vector<Sequence>& sequences, const TestCache& cache) {
  std::vector<SeqSpan> spans;
  int32_t row = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int32_t context = sequences[i].pos + sequences[i].len;
    spans.push_back({row, context, 0, cache.table(i)});
    row += context;
  }
  return spans;
}
std::vector<SeqSpan> StepSpans(const std::vector<Sequence>& sequences, const TestCache& cache) {
  std::vector<SeqSpan> spans;
  int32_t row = 0;
  for (size_t i = sequences.size(); i-- > 0;) {
    spans.push_back({row, sequences[i].len, sequences[i].pos, cache.table(i)});
    row += sequences[i].len;
  }
  return spans;
}

int32_t TotalRows(const std::vector<Sequence>& sequences, bool whole) {
  int32_t rows = 0;
  for (const Sequence& sequence : sequences) rows += sequence.len + (whole ? sequence.pos : 0);
  return rows;
}

const std::vector<Sequence> kMixed = {{0, 1},   {5, 1},    {300, 1}, {0, 7},
                                      {63, 64}, {64, 100}, {1, 130}, {500, 67}};
const std::vector<Sequence> kLong = {{0, 257}, {500, 257}, {0, 64}};

struct GqaCase {
  GqaShape shape;
  int32_t block_size;
  std::vector<Sequence> sequences;
  float magnitude = 1.0f;  // of queries and keys
};

void PrintTo(const GqaCase& c, std::ostream* out) {
  *out << c.shape.num_heads << "/" << c.shape.num_kv_heads << " heads of " << c.shape.head_dim
       << ", blocks of " << c.block_size << ", " << c.sequences.size() << " sequences";
}

template <typename Backend>
void RunGqa(Backend& backend, const GqaCase& c, DType cache_dtype, const TestMat& q, const TestMat& k,
            const TestMat& v, TestMat& out) {
  TestCache cache(backend.GqaBlockBytes(c.shape, c.block_size, cache_dtype), c.block_size, cache_dtype,
                  Contexts(c.sequences));
  backend.GqaStore(k, v, StoreSpans(c.sequences, cache), c.shape, cache.view());
  backend.GqaAttention(q, StepSpans(c.sequences, cache), c.shape, cache.view(), out.mat());
}

class GqaTest : public testing::TestWithParam<GqaCase> {
 protected:
  // Activations and cache of `dtype`; the result of `out_dtype`.
  void CompareAll(DType dtype, DType out_dtype) { CompareAll(dtype, dtype, out_dtype); }
  void CompareAll(DType dtype, DType cache_dtype, DType out_dtype) {
    const GqaCase& c = GetParam();
    const int64_t q_cols = int64_t{c.shape.num_heads} * c.shape.head_dim;
    const int64_t kv_cols = int64_t{c.shape.num_kv_heads} * c.shape.head_dim;
    const int32_t rows = TotalRows(c.sequences, false), context_rows = TotalRows(c.sequences, true);
    const TestMat q = TestMat::Random(dtype, rows, q_cols, 1, c.magnitude);
    const TestMat k = TestMat::Random(dtype, context_rows, kv_cols, 2, c.magnitude);
    const TestMat v = TestMat::Random(dtype, context_rows, kv_cols, 3);
    TestMat want(out_dtype, rows, q_cols);
    RunGqa(*MakeRefKernels(), c, cache_dtype, q, k, v, want);
    for (const int num_threads : {1, 3}) {
      ThreadTeam team(num_threads);
      for (const AttentionOps* ops : TestedOps()) {
        if (num_threads > 1 && std::string(ops->name).starts_with("emulated")) continue;
        CpuAttention attention(*ops, team);
        TestMat got(out_dtype, rows, q_cols);
        got.Fill(NAN);
        RunGqa(attention, c, cache_dtype, q, k, v, got);
        const double slack = std::max(1.0f, c.magnitude);  // rounding errors of scores grow with them
        EXPECT_LT(MaxRelativeError(got, want), slack * Tolerance(*ops, cache_dtype, out_dtype))
            << ops->name << " with " << num_threads << " threads";
        if (MultipliesBytes(*ops, cache_dtype)) {
          EXPECT_LT(RmsError(got, want), 0.015) << ops->name;
        }
      }
    }
  }
};

TEST_P(GqaTest, F32) { CompareAll(DType::kF32, DType::kF32); }
TEST_P(GqaTest, Bf16) { CompareAll(DType::kBF16, DType::kBF16); }
TEST_P(GqaTest, Bytes) { CompareAll(DType::kBF16, DType::kI8, DType::kBF16); }
TEST_P(GqaTest, BytesOfF32) { CompareAll(DType::kF32, DType::kI8, DType::kF32); }
TEST_P(GqaTest, Bf16ToF32) { CompareAll(DType::kBF16, DType::kF32); }

INSTANTIATE_TEST_SUITE_P(
    Shapes, GqaTest,
    testing::Values(GqaCase{{1, 1, 16, 0.25f}, 16, kMixed}, GqaCase{{4, 2, 64, 0.125f}, 32, kMixed},
                    GqaCase{{8, 1, 80, 0.11f}, 64, kMixed},
                    GqaCase{{6, 3, 128, 0.09f}, 16, {{64, 100}, {300, 1}}},
                    GqaCase{{9, 3, 192, 0.07f}, 128, {{63, 30}, {0, 1}, {131, 2}}},
                    GqaCase{{2, 2, 256, 0.06f}, 64, {{0, 130}, {200, 1}}},
                    GqaCase{{2, 1, 48, 0.15f}, 32, kLong},
                    GqaCase{{3, 1, 32, 0.2f}, 16, {{3000, 1}, {2100, 9}}},
                    // Logits of some hundreds: the softmax is nearly one-hot and exp would overflow.
                    GqaCase{{2, 2, 64, 1.0f}, 32, {{100, 60}, {700, 2}}, 5.0f}));

TEST(CpuGqa, ChunksGiveWhatTheWholeGives) {
  const GqaShape shape{.num_heads = 4, .num_kv_heads = 2, .head_dim = 64, .scale = 0.125f};
  const int32_t len = 333;
  ThreadTeam team(2);
  for (const AttentionOps* ops : TestedOps()) {
    CpuAttention attention(*ops, team);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const TestMat q = TestMat::Random(dtype, len, 256, 1), k = TestMat::Random(dtype, len, 128, 2);
      const TestMat v = TestMat::Random(dtype, len, 128, 3);
      TestMat whole(DType::kF32, len, 256), chunked(DType::kF32, len, 256);
      auto run = [&](const std::vector<int32_t>& chunks, TestMat& out) {
        TestCache cache(attention.GqaBlockBytes(shape, 32, dtype), 32, dtype, std::vector<int32_t>{len});
        int32_t pos = 0;
        for (const int32_t chunk : chunks) {
          const std::vector<SeqSpan> spans = {{pos, chunk, pos, cache.table(0)}};
          attention.GqaStore(k, v, spans, shape, cache.view());
          attention.GqaAttention(q, spans, shape, cache.view(), out.mat());
          pos += chunk;
        }
        ASSERT_EQ(pos, len);
      };
      run({len}, whole);
      run({1, 15, 64, 100, 129, 24}, chunked);
      EXPECT_LT(MaxRelativeError(chunked, whole), RoundsToBf16(*ops, dtype) ? 1e-2 : 1e-5) << ops->name;
    }
  }
}

TEST(CpuGqa, TypesOfActivationsAndCacheMayDiffer) {
  const GqaCase c{{2, 1, 32, 0.2f}, 16, {{20, 15}}};
  const TestMat q = TestMat::Random(DType::kF32, 15, 64, 1);
  const TestMat k = TestMat::Random(DType::kF32, 35, 32, 2), v = TestMat::Random(DType::kF32, 35, 32, 3);
  ThreadTeam team(1);
  for (const AttentionOps* ops : TestedOps()) {
    TestMat want(DType::kF32, 15, 64), got(DType::kF32, 15, 64);
    CpuAttention attention(*ops, team);
    RunGqa(*MakeRefKernels(), c, DType::kBF16, q, k, v, want);
    RunGqa(attention, c, DType::kBF16, q, k, v, got);
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(*ops, DType::kBF16, DType::kF32)) << ops->name;
  }
}

// What is not a number is not made one by being rounded. (The exponential of the others has no NaN.)
TEST(CpuGqa, BytesOfNanAreNan) {
  const GqaCase c{{2, 1, 32, 0.2f}, 16, {{40, 20}}};
  ThreadTeam team(1);
  for (const AttentionOps* ops : TestedOps()) {
    if (std::string(ops->name).find("avx512") == std::string::npos) continue;
    for (const int spoilt : {0, 1, 2}) {  // q, k, v
      TestMat rows[] = {TestMat::Random(DType::kF32, 20, 64, 1), TestMat::Random(DType::kF32, 60, 32, 2),
                        TestMat::Random(DType::kF32, 60, 32, 3)};
      rows[spoilt].mat().Row<float>(7)[3] = NAN;
      TestMat got(DType::kF32, 20, 64);
      CpuAttention attention(*ops, team);
      RunGqa(attention, c, DType::kI8, rows[0], rows[1], rows[2], got);
      EXPECT_TRUE(std::isnan(got.Get(7 * 64))) << ops->name << " " << spoilt;
    }
  }
}

TEST(CpuGqa, MemoryIsKeptAndDoesNotGrowWithTheContext) {
  const GqaShape shape{.num_heads = 2, .num_kv_heads = 1, .head_dim = 64, .scale = 0.125f};
  ThreadTeam team(2);
  CpuAttention attention(GenericAttentionOps(), team);
  auto scratch_after = [&](Sequence sequence) {
    const GqaCase c{shape, 16, {sequence}};
    const int32_t context = sequence.pos + sequence.len;
    TestMat out(DType::kF32, sequence.len, 128);
    RunGqa(attention, c, DType::kF32, TestMat(DType::kF32, sequence.len, 128),
           TestMat(DType::kF32, context, 64), TestMat(DType::kF32, context, 64), out);
    return attention.scratch_bytes();
  };
  const size_t first = scratch_after({24000, 32});
  EXPECT_GT(first, 0u);
  EXPECT_EQ(scratch_after({24000, 32}), first);
  EXPECT_EQ(scratch_after({48000, 32}), first);
}

struct MlaCase {
  MlaShape shape;
  int32_t block_size;
  std::vector<Sequence> sequences;
};

void PrintTo(const MlaCase& c, std::ostream* out) {
  *out << c.shape.num_heads << " heads, rank " << c.shape.kv_lora_rank << ", dims " << c.shape.nope_dim << "+"
       << c.shape.rope_dim << ", " << c.shape.v_dim;
}

template <typename Backend>
void RunMla(Backend& backend, const MlaCase& c, DType cache_dtype, MlaForm form, const TestMat& q,
            const TestMat& latent, const TestMat& k_rope, const TestMat& kv_b, TestMat& out) {
  TestCache cache(backend.MlaBlockBytes(c.shape, c.block_size, cache_dtype), c.block_size, cache_dtype,
                  Contexts(c.sequences));
  const DType compute = cache_dtype == DType::kI8 ? DType::kBF16 : cache_dtype;
  const auto packed = backend.PackKvB(kv_b, c.shape, compute);
  backend.MlaStore(latent, k_rope, StoreSpans(c.sequences, cache), c.shape, cache.view());
  backend.MlaAttention(q, StepSpans(c.sequences, cache), c.shape, cache.view(), *packed, out.mat(), form);
}

class MlaTest : public testing::TestWithParam<MlaCase> {
 protected:
  void CompareAll(DType dtype, MlaForm form) { CompareAll(dtype, dtype, form); }
  void CompareAll(DType dtype, DType cache_dtype, MlaForm form) {
    const MlaCase& c = GetParam();
    const MlaShape& s = c.shape;
    const int32_t rows = TotalRows(c.sequences, false), context_rows = TotalRows(c.sequences, true);
    const float weight_scale = 1.0f / std::sqrt(static_cast<float>(s.kv_lora_rank));
    const TestMat q = TestMat::Random(dtype, rows, int64_t{s.num_heads} * (s.nope_dim + s.rope_dim), 1);
    const TestMat latent = TestMat::Random(dtype, context_rows, s.kv_lora_rank, 2);
    const TestMat k_rope = TestMat::Random(dtype, context_rows, s.rope_dim, 3);
    const TestMat kv_b = TestMat::Random(dtype, int64_t{s.num_heads} * (s.nope_dim + s.v_dim), s.kv_lora_rank,
                                         4, weight_scale);
    TestMat want(DType::kF32, rows, int64_t{s.num_heads} * s.v_dim);
    RunMla(*MakeRefKernels(), c, cache_dtype, MlaForm::kExpanded, q, latent, k_rope, kv_b, want);
    for (const int num_threads : {1, 3}) {
      ThreadTeam team(num_threads);
      for (const AttentionOps* ops : TestedOps()) {
        if (num_threads > 1 && std::string(ops->name).starts_with("emulated")) continue;
        CpuAttention attention(*ops, team);
        TestMat got(DType::kF32, rows, int64_t{s.num_heads} * s.v_dim);
        got.Fill(NAN);
        RunMla(attention, c, cache_dtype, form, q, latent, k_rope, kv_b, got);
        EXPECT_LT(MaxRelativeError(got, want), 2 * FloatTolerance(*ops, cache_dtype, DType::kF32))
            << ops->name << " with " << num_threads << " threads";
      }
    }
  }
};

TEST_P(MlaTest, ExpandedF32) { CompareAll(DType::kF32, MlaForm::kExpanded); }
TEST_P(MlaTest, ExpandedBf16) { CompareAll(DType::kBF16, MlaForm::kExpanded); }
TEST_P(MlaTest, AbsorbedF32) { CompareAll(DType::kF32, MlaForm::kAbsorbed); }
TEST_P(MlaTest, AbsorbedBf16) { CompareAll(DType::kBF16, MlaForm::kAbsorbed); }
TEST_P(MlaTest, ExpandedBytes) { CompareAll(DType::kBF16, DType::kI8, MlaForm::kExpanded); }
TEST_P(MlaTest, AbsorbedBytes) { CompareAll(DType::kBF16, DType::kI8, MlaForm::kAbsorbed); }
TEST_P(MlaTest, AutoBf16) { CompareAll(DType::kBF16, MlaForm::kAuto); }

INSTANTIATE_TEST_SUITE_P(
    Shapes, MlaTest,
    testing::Values(MlaCase{{2, 32, 16, 16, 16, 0.2f}, 16, {{0, 1}, {5, 1}, {200, 1}, {63, 70}, {0, 7}}},
                    MlaCase{{16, 64, 32, 16, 32, 0.15f}, 32, {{0, 33}, {131, 2}}},
                    MlaCase{{3, 128, 64, 32, 48, 0.1f}, 64, {{100, 100}, {300, 1}}},
                    MlaCase{{2, 512, 128, 64, 128, 0.07f}, 32, {{40, 33}, {150, 1}}},
                    // Dimensions that are not multiples of 16, as tiny models have them.
                    MlaCase{{4, 20, 12, 8, 10, 0.2f}, 16, {{30, 40}, {0, 1}, {17, 3}}},
                    // More queries and keys than one tile of each.
                    MlaCase{{2, 32, 16, 16, 16, 0.2f}, 16, {{70, 230}, {1300, 3}}}));

}  // namespace
}  // namespace penstock
