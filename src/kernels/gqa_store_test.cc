// Storing of keys and values with all that is done on the way: against the reference, and the bytes in the
// cache against those of CpuAttention, whose layout it is.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/thread_team.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu_backends_test.h"
#include "kernels/kernels.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 32;
const std::vector<int32_t> kContexts = {1, 37, 100, 64, 130};
// {sequence, pos, len} of the steps, in turn: whole blocks, odd ends, odd begins, single tokens.
const std::vector<std::vector<std::array<int32_t, 3>>> kSteps = {{{0, 0, 1}, {1, 0, 35}, {2, 0, 32}},
                                                                 {{2, 32, 51}, {1, 35, 1}, {3, 0, 64}},
                                                                 {{1, 36, 1}, {4, 0, 129}},
                                                                 {{2, 83, 17}, {4, 129, 1}}};

struct StoreShape {
  GqaShape gqa;
  bool norm;
};

struct StoreTypes {
  DType rows, cache;
};

class GqaStoreTest : public testing::TestWithParam<std::tuple<CpuBackend, StoreTypes>> {
 protected:
  GqaStoreTest() : rope_{.dim = 0, .max_positions = 256, .cos = {}, .sin = {}} {}

  DType dtype() const { return std::get<1>(GetParam()).rows; }
  DType cache_dtype() const { return std::get<1>(GetParam()).cache; }

  void MakeRope(int32_t dim) {
    rope_.dim = dim;
    rope_.cos.clear();
    rope_.sin.clear();
    for (int32_t i = 0; i < rope_.max_positions * dim / 2; ++i) {
      rope_.cos.push_back(std::cos(0.37f * static_cast<float>(i)));
      rope_.sin.push_back(std::sin(0.37f * static_cast<float>(i)));
    }
  }

  // The spans of a step and its positions.
  void MakeStep(const std::vector<std::array<int32_t, 3>>& step, const TestCache& cache) {
    spans_.clear();
    positions_.clear();
    for (const auto& [seq, pos, len] : step) {
      spans_.push_back({static_cast<int32_t>(positions_.size()), len, pos, cache.table(seq)});
      for (int32_t i = 0; i < len; ++i) positions_.push_back(pos + i);
    }
  }

  GqaNormRope How(const std::vector<float>& norm, bool use_norm) const {
    return {.q_norm = use_norm ? norm.data() : nullptr,
            .k_norm = use_norm ? norm.data() + 1 : nullptr,
            .eps = 1e-5f,
            .positions = positions_,
            .rope = &rope_,
            .style = RopeStyle::kHalf};
  }

  ThreadTeam team_{3};
  std::unique_ptr<Kernels> kernels_ = std::get<0>(GetParam()).Make(team_);
  std::unique_ptr<Kernels> reference_ = MakeRefKernels();
  RopeTable rope_;
  std::vector<SeqSpan> spans_;
  std::vector<int32_t> positions_;
};

INSTANTIATE_TEST_SUITE_P(Cpu, GqaStoreTest,
                         testing::Combine(testing::ValuesIn(TestedBackends()),
                                          testing::Values(StoreTypes{DType::kF32, DType::kF32},
                                                          StoreTypes{DType::kBF16, DType::kBF16},
                                                          StoreTypes{DType::kF32, DType::kI8},
                                                          StoreTypes{DType::kBF16, DType::kI8})),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::string(DTypeName(std::get<1>(info.param).rows)) + "_" +
                                  std::string(DTypeName(std::get<1>(info.param).cache));
                         });

TEST_P(GqaStoreTest, NormsRotatesAndStores) {
  for (const StoreShape& shape : {StoreShape{{4, 2, 64, 1.0f}, true}, StoreShape{{3, 3, 80, 1.0f}, true},
                                  StoreShape{{2, 1, 128, 1.0f}, false}, StoreShape{{8, 2, 16, 1.0f}, true}}) {
    const GqaShape& gqa = shape.gqa;
    MakeRope(gqa.head_dim);
    std::vector<float> norm(gqa.head_dim + 1);
    for (size_t i = 0; i < norm.size(); ++i) norm[i] = 0.8f + 0.01f * static_cast<float>(i % 40);
    const size_t block_bytes = kernels_->GqaBlockBytes(gqa, kBlockSize, cache_dtype());
    const TestCache cache(block_bytes, kBlockSize, cache_dtype(), kContexts);
    const TestCache expected_cache(block_bytes, kBlockSize, cache_dtype(), kContexts);
    const TestCache ref_cache(reference_->GqaBlockBytes(gqa, kBlockSize, cache_dtype()), kBlockSize,
                              cache_dtype(), kContexts);
    CpuAttention layout(GenericAttentionOps(), team_);
    for (const auto& step : kSteps) {
      MakeStep(step, cache);
      const auto rows = static_cast<int64_t>(positions_.size());
      const int64_t q_cols = int64_t{gqa.num_heads} * gqa.head_dim;
      const int64_t kv_cols = int64_t{gqa.num_kv_heads} * gqa.head_dim;
      TestMat got = TestMat::Random(dtype(), rows, q_cols + 2 * kv_cols, 7);  // as one product makes them
      TestMat want = TestMat::Random(dtype(), rows, q_cols + 2 * kv_cols, 7);
      const auto run = [&](Kernels& kernels, TestMat& qkv, const TestCache& into) {
        kernels.GqaNormRopeStore(qkv.mat().Cols(0, q_cols), qkv.mat().Cols(q_cols, kv_cols),
                                 qkv.mat().Cols(q_cols + kv_cols, kv_cols), How(norm, shape.norm), spans_,
                                 gqa, into.view());
      };
      run(*kernels_, got, cache);
      MakeStep(step, ref_cache);
      run(*reference_, want, ref_cache);
      EXPECT_LT(MaxRelativeError(got, want), dtype() == DType::kF32 ? 2e-5 : 3e-2);
      MakeStep(step, expected_cache);
      layout.GqaStore(got.mat().Cols(q_cols, kv_cols), got.mat().Cols(q_cols + kv_cols, kv_cols), spans_, gqa,
                      expected_cache.view());
      ASSERT_EQ(std::memcmp(cache.view().data, expected_cache.view().data,
                            block_bytes * static_cast<size_t>(cache.view().num_blocks)),
                0)
          << "heads of " << gqa.head_dim;
    }
  }
}

TEST_P(GqaStoreTest, StoresAsTheLayoutSays) {
  const GqaShape gqa{4, 2, 48, 1.0f};
  const size_t block_bytes = kernels_->GqaBlockBytes(gqa, kBlockSize, cache_dtype());
  const TestCache cache(block_bytes, kBlockSize, cache_dtype(), kContexts);
  const TestCache expected(block_bytes, kBlockSize, cache_dtype(), kContexts);
  CpuAttention layout(GenericAttentionOps(), team_);
  for (const auto& step : kSteps) {
    MakeStep(step, cache);
    const auto rows = static_cast<int64_t>(positions_.size());
    const TestMat k = TestMat::Random(dtype(), rows, 96, 1), v = TestMat::Random(dtype(), rows, 96, 2);
    kernels_->GqaStore(k, v, spans_, gqa, cache.view());
    MakeStep(step, expected);
    layout.GqaStore(k, v, spans_, gqa, expected.view());
    ASSERT_EQ(std::memcmp(cache.view().data, expected.view().data,
                          block_bytes * static_cast<size_t>(cache.view().num_blocks)),
              0);
  }
}

// A head that is rotated in part, or by pairs, goes the way of the three operations.
TEST_P(GqaStoreTest, OtherRotationsAreTheThreeOperations) {
  const GqaShape gqa{2, 2, 64, 1.0f};
  MakeRope(32);
  const TestCache cache(kernels_->GqaBlockBytes(gqa, kBlockSize, cache_dtype()), kBlockSize, cache_dtype(),
                        kContexts);
  MakeStep({{1, 0, 20}}, cache);
  const std::vector<float> norm(65, 1.5f);
  TestMat q = TestMat::Random(dtype(), 20, 128, 1), k = TestMat::Random(dtype(), 20, 128, 2);
  TestMat want_q = TestMat::Random(dtype(), 20, 128, 1);
  const TestMat v = TestMat::Random(dtype(), 20, 128, 3);
  kernels_->GqaNormRopeStore(q.mat(), k.mat(), v, How(norm, true), spans_, gqa, cache.view());
  reference_->HeadRmsNorm(want_q.mat(), 2, 64, norm.data(), 1e-5f);
  reference_->Rope(want_q.mat(), 2, 64, positions_, rope_, RopeStyle::kHalf);
  EXPECT_LT(MaxRelativeError(q, want_q), dtype() == DType::kF32 ? 2e-5 : 3e-2);
}

}  // namespace
}  // namespace penstock
