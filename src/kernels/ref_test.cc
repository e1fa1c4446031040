// The reference kernels against numbers worked out by hand or from transformers' definitions.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/ref/ref_kernels.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

TEST(RefConvert, HalfRoundTripsEveryPattern) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto half = static_cast<uint16_t>(pattern);
    const std::vector<float> value = ReadFloats(&half, DType::kF16, 1);
    if (std::isnan(value[0])) continue;
    uint16_t back = 0;
    WriteFloats(&back, DType::kF16, value);
    ASSERT_EQ(back, half);
  }
}

TEST(RefConvert, HalfRoundsTiesToEven) {
  const float values[] = {1.0f + 0x1p-11f, 1.0f + 0x1.8p-10f, 0x1p-25f, 0x1.8p-24f, 65519.9f, 65520.0f};
  uint16_t halves[6];
  WriteFloats(halves, DType::kF16, values);
  EXPECT_EQ(halves[0], 0x3c00);
  EXPECT_EQ(halves[1], 0x3c02);
  EXPECT_EQ(halves[2], 0x0000);
  EXPECT_EQ(halves[3], 0x0002);
  EXPECT_EQ(halves[4], 0x7bff);
  EXPECT_EQ(halves[5], 0x7c00);
}

TEST(RefLinear, StacksPartsAddsBiasAndAccumulates) {
  const auto kernels = MakeRefKernels();
  const float top[] = {1, 2}, bottom[] = {3, 4, 5, 6};
  const ConstMat parts[] = {ConstMat(top, DType::kF32, 1, 2), ConstMat(bottom, DType::kF32, 2, 2)};
  const auto weights = kernels->Pack(parts, DType::kF32);
  EXPECT_EQ(weights->n(), 3);
  EXPECT_EQ(weights->k(), 2);
  const float x[] = {1, -1}, bias[] = {10, 20, 30};
  float y[] = {100, 100, 100};
  kernels->Linear(ConstMat(x, DType::kF32, 1, 2), *weights, Mat(y, DType::kF32, 1, 3), bias, true);
  EXPECT_EQ(y[0], 109);
  EXPECT_EQ(y[1], 119);
  EXPECT_EQ(y[2], 129);
}

TEST(RefInt8, DynamicScalesEachToken) {
  const auto kernels = MakeRefKernels();
  const int8_t weight[] = {1, 2, -128, 127};
  const float scale[] = {0.5f, 2.0f}, bias[] = {10.0f, 20.0f};
  const Int8Part part{.weight = weight, .n = 2, .k = 2, .weight_scale = scale};
  const float x[] = {127.0f, -2.5f, 0.0f, -254.0f};  // scales 1 and 2; q = {127, -2}, {0, -127}
  float y[4] = {};
  kernels->Linear(ConstMat(x, DType::kF32, 2, 2), *kernels->PackInt8(std::span(&part, 1)),
                  Mat(y, DType::kF32, 2, 2), bias);
  EXPECT_EQ(y[0], (127 - 4) * 0.5f + 10);
  EXPECT_EQ(y[1], (-128 * 127 + 127 * -2) * 2.0f + 20);
  EXPECT_EQ(y[2], (2 * -127) * 2 * 0.5f + 10);
  EXPECT_EQ(y[3], (127 * -127) * 2 * 2.0f + 20);
}

TEST(RefInt8, StaticHasOneScaleAnOffsetAndABiasInIntegers) {
  const auto kernels = MakeRefKernels();
  const int8_t weight[] = {1, 2, 3};
  const float deq_scale = 0.25f;
  const int32_t quant_bias = 1000;
  const Int8Part part{.weight = weight,
                      .n = 1,
                      .k = 3,
                      .input_scale = 0.5f,
                      .input_offset = -3,
                      .deq_scale = &deq_scale,
                      .quant_bias = &quant_bias};
  const float x[] = {0.75f, 1000.0f, -1000.0f};  // 1.5 - 3 rounds to -2; 127; -128
  float y = 0;
  kernels->Linear(ConstMat(x, DType::kF32, 1, 3), *kernels->PackInt8(std::span(&part, 1)),
                  Mat(&y, DType::kF32, 1, 1));
  EXPECT_EQ(y, (-2 + 2 * 127 - 3 * 128 + 1000) * 0.25f);
}

TEST(RefRope, BothStyles) {
  RopeTable table{
      .dim = 4, .max_positions = 2, .cos = {1, 1, 0, 1}, .sin = {0, 0, 1, 0}};  // 90° for pair 0 at 1
  float half[] = {1, 2, 3, 4, 9}, interleaved[] = {1, 2, 3, 4, 9};
  const int32_t position = 1;
  const auto kernels = MakeRefKernels();
  kernels->Rope(Mat(half, DType::kF32, 1, 5), 1, 5, std::span(&position, 1), table, RopeStyle::kHalf);
  kernels->Rope(Mat(interleaved, DType::kF32, 1, 5), 1, 5, std::span(&position, 1), table,
                RopeStyle::kInterleaved);
  EXPECT_EQ(std::vector<float>(half, half + 5), (std::vector<float>{-3, 2, 1, 4, 9}));
  EXPECT_EQ(std::vector<float>(interleaved, interleaved + 5), (std::vector<float>{-2, 1, 3, 4, 9}));
}

TEST(RefRoute, SoftmaxOverAllExperts) {
  const float logits[] = {0, std::log(2.0f), std::log(4.0f), 0};
  RouterShape shape{.num_experts = 4, .top_k = 2, .normalize = false};
  int32_t ids[2];
  float weights[2];
  const auto kernels = MakeRefKernels();
  kernels->RouteTopK(ConstMat(logits, DType::kF32, 1, 4), shape, ids, weights);
  EXPECT_EQ(ids[0], 2);
  EXPECT_EQ(ids[1], 1);
  EXPECT_NEAR(weights[0], 0.5f, 1e-6);
  EXPECT_NEAR(weights[1], 0.25f, 1e-6);
  shape.normalize = true;
  kernels->RouteTopK(ConstMat(logits, DType::kF32, 1, 4), shape, ids, weights);
  EXPECT_NEAR(weights[0], 2.0f / 3, 1e-6);
}

TEST(RefRoute, GroupsAndBiasMoveTheChoiceNotTheWeight) {
  // Groups {0,1}, {2,3}, {4,5}; the bias lifts group 2 over group 0, whose best expert has the highest score.
  const float logits[] = {3, -3, 1, 1, 0, 0};
  const float bias[] = {0, 0, 0, 0, 0.4f, 0.3f};
  const RouterShape shape{.score = RouterShape::Score::kSigmoid,
                          .num_experts = 6,
                          .top_k = 2,
                          .scaling = 2.5f,
                          .num_groups = 3,
                          .top_k_groups = 1,
                          .bias = bias};
  int32_t ids[2];
  float weights[2];
  MakeRefKernels()->RouteTopK(ConstMat(logits, DType::kF32, 1, 6), shape, ids, weights);
  EXPECT_EQ(ids[0], 4);
  EXPECT_EQ(ids[1], 5);
  EXPECT_NEAR(weights[0], 1.25f, 1e-6);  // both unbiased scores are 1/2
  EXPECT_NEAR(weights[1], 1.25f, 1e-6);
}

TEST(RefGqa, UniformKeysAverageTheValuesSeen) {
  // With equal keys, each query takes the mean of its kv head's values at and before its own position.
  const GqaShape shape{.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 1.0f};
  const auto kernels = MakeRefKernels();
  const int32_t len = 20;
  TestCache cache(kernels->GqaBlockBytes(shape, 16, DType::kF32), 16, DType::kF32, std::span(&len, 1));
  TestMat q = TestMat::Random(DType::kF32, len, 64, 1), k(DType::kF32, len, 32), v(DType::kF32, len, 32);
  for (int32_t t = 0; t < len; ++t) {
    for (int32_t d = 0; d < 32; ++d) v.Set(t * 32 + d, static_cast<float>(d < 16 ? t : -t));
  }
  TestMat out(DType::kF32, len, 64);
  const SeqSpan span{.row = 0, .len = len, .pos = 0, .block_ids = cache.table(0)};
  kernels->GqaStore(k, v, std::span(&span, 1), shape, cache.view());
  kernels->GqaAttention(q, std::span(&span, 1), shape, cache.view(), out.mat());
  for (int32_t t = 0; t < len; ++t) {
    for (int32_t h = 0; h < 4; ++h) {
      EXPECT_NEAR(out.Get(t * 64 + h * 16), static_cast<float>(t) / 2 * (h < 2 ? 1 : -1), 1e-5);
    }
  }
}

TEST(RefMla, ExpandedAndAbsorbedAgree) {
  const MlaShape shape{
      .num_heads = 3, .kv_lora_rank = 24, .nope_dim = 12, .rope_dim = 8, .v_dim = 10, .scale = 0.3f};
  const auto kernels = MakeRefKernels();
  const int32_t len = 37;
  TestCache cache(kernels->MlaBlockBytes(shape, 16, DType::kF32), 16, DType::kF32, std::span(&len, 1));
  const TestMat kv_b = TestMat::Random(DType::kF32, 3 * 22, 24, 1, 0.3f);
  const TestMat latent = TestMat::Random(DType::kF32, len, 24, 2),
                k_rope = TestMat::Random(DType::kF32, len, 8, 3);
  const TestMat q = TestMat::Random(DType::kF32, len, 60, 4);
  TestMat expanded(DType::kF32, len, 30), absorbed(DType::kF32, len, 30);
  const SeqSpan span{.row = 0, .len = len, .pos = 0, .block_ids = cache.table(0)};
  const auto packed = kernels->PackKvB(kv_b, shape, DType::kF32);
  kernels->MlaStore(latent, k_rope, std::span(&span, 1), shape, cache.view());
  kernels->MlaAttention(q, std::span(&span, 1), shape, cache.view(), *packed, expanded.mat(),
                        MlaForm::kExpanded);
  kernels->MlaAttention(q, std::span(&span, 1), shape, cache.view(), *packed, absorbed.mat(),
                        MlaForm::kAbsorbed);
  EXPECT_LT(MaxRelativeError(absorbed, expanded), 1e-5);
}

TEST(RefMoe, AddsWeightedExperts) {
  const auto kernels = MakeRefKernels();
  ExpertWeights experts;
  for (int e = 0; e < 2; ++e) {
    const float gate_up[] = {1, 2.0f * static_cast<float>(e + 1)}, down[] = {1};
    const ConstMat gate_up_part(gate_up, DType::kF32, 2, 1), down_part(down, DType::kF32, 1, 1);
    experts.gate_up.push_back(kernels->Pack(std::span(&gate_up_part, 1), DType::kF32));
    experts.down.push_back(kernels->Pack(std::span(&down_part, 1), DType::kF32));
  }
  const float x = 1, weights[] = {0.25f, 0.5f};
  const int32_t ids[] = {1, 0};
  float y = 10;
  kernels->MoeMlp(ConstMat(&x, DType::kF32, 1, 1), ids, weights, 2, experts, Mat(&y, DType::kF32, 1, 1));
  const float silu = 1.0f / (1.0f + std::exp(-1.0f));
  EXPECT_NEAR(y, 10 + 0.25f * silu * 4 + 0.5f * silu * 2, 1e-5);
}

}  // namespace
}  // namespace penstock
