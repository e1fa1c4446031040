// Expected values: transformers 5.23, modeling_rope_utils.py, head_dim 64.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace penstock {
namespace {

using Type = RopeConfig::Type;
constexpr std::array kPairs = {0, 1, 5, 9, 13, 17, 21, 25, 31};

void ExpectFrequencies(const RopeConfig& rope, const std::array<float, kPairs.size()>& expected) {
  const std::vector<float> frequencies = InverseFrequencies(rope, 64);
  ASSERT_EQ(frequencies.size(), 32u);
  for (size_t i = 0; i < kPairs.size(); ++i) {
    EXPECT_NEAR(frequencies[kPairs[i]], expected[i], expected[i] * 1e-6f) << kPairs[i];
  }
}

TEST(RopeTableTest, Linear) {
  const RopeConfig rope{.type = Type::kLinear, .theta = 10000.0, .factor = 4.0};
  ExpectFrequencies(rope, {0.25f, 0.18747355f, 0.0592843406f, 0.0187473539f, 0.00592843397f, 0.00187473558f,
                           0.000592843455f, 0.000187473546f, 3.33380376e-05f});
  EXPECT_EQ(RopeAttentionFactor(rope), 1.0f);
}

TEST(RopeTableTest, Llama3) {
  const RopeConfig rope{.type = Type::kLlama3,
                        .theta = 500000.0,
                        .factor = 8.0,
                        .original_max_position_embeddings = 8192,
                        .low_freq_factor = 1.0,
                        .high_freq_factor = 4.0};
  ExpectFrequencies(rope, {1.0f, 0.663601279f, 0.128687382f, 0.0249554086f, 0.00483942125f, 0.000178507791f,
                           2.2748929e-05f, 4.41153452e-06f, 3.7673226e-07f});
  EXPECT_EQ(RopeAttentionFactor(rope), 1.0f);
}

TEST(RopeTableTest, Yarn) {
  const RopeConfig rope{.type = Type::kYarn,
                        .theta = 1000000.0,
                        .factor = 4.0,
                        .original_max_position_embeddings = 32768,
                        .mscale = 0};
  ExpectFrequencies(rope, {1.0f, 0.649381638f, 0.115478203f, 0.0205352511f, 0.0030431177f, 0.000324690831f,
                           2.88695483e-05f, 5.13381246e-06f, 3.84981632e-07f});
  EXPECT_FLOAT_EQ(RopeAttentionFactor(rope), 1.138629436111989f);
}

TEST(RopeTableTest, YarnWithMscale) {
  const RopeConfig rope{.type = Type::kYarn,
                        .theta = 10000.0,
                        .factor = 40.0,
                        .original_max_position_embeddings = 4096,
                        .mscale = 0.707,
                        .mscale_all_dim = 1.0};
  ExpectFrequencies(rope, {1.0f, 0.749894202f, 0.237137362f, 0.0749894157f, 0.0183781441f, 0.00356199732f,
                           0.000414990413f, 1.87473543e-05f, 3.33380353e-06f});
  EXPECT_FLOAT_EQ(RopeAttentionFactor(rope), 0.9210423553163399f);
}

TEST(RopeTableTest, YarnWithoutTruncationAndWithItsOwnFactor) {
  const RopeConfig rope{.type = Type::kYarn,
                        .theta = 150000.0,
                        .factor = 32.0,
                        .original_max_position_embeddings = 4096,
                        .attention_factor = 1.25,
                        .truncate = false};
  ExpectFrequencies(rope, {1.0f, 0.689044297f, 0.155322984f, 0.0317056961f, 0.00386035908f, 0.000129318694f,
                           1.25325696e-05f, 2.82506676e-06f, 3.0235114e-07f});
  EXPECT_FLOAT_EQ(RopeAttentionFactor(rope), 1.25f);
}

TEST(RopeTableTest, TheTableHoldsCosAndSinOfEveryPosition) {
  const RopeConfig rope{.theta = 10000.0};
  const RopeTable table = MakeRopeTable(rope, 64, 300);
  EXPECT_EQ(table.dim, 64);
  EXPECT_EQ(table.max_positions, 300);
  ASSERT_EQ(table.cos.size(), 300u * 32);
  EXPECT_EQ(RopeTableBytes(64, 300), (table.cos.size() + table.sin.size()) * sizeof(float));
  for (const int pos : {0, 1, 299}) {
    for (const int pair : {0, 7, 31}) {
      const double angle = pos * std::pow(10000.0, -2.0 * pair / 64);
      EXPECT_NEAR(table.cos[pos * 32 + pair], std::cos(angle), 3e-5) << pos << "," << pair;
      EXPECT_NEAR(table.sin[pos * 32 + pair], std::sin(angle), 3e-5) << pos << "," << pair;
    }
  }
}

TEST(RopeTableTest, TheAttentionFactorScalesTheTable) {
  RopeConfig rope{.type = Type::kYarn,
                  .theta = 10000.0,
                  .factor = 4.0,
                  .original_max_position_embeddings = 64,
                  .attention_factor = 2.0};
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 16, 1).cos[0], 2.0f);
}

}  // namespace
}  // namespace penstock
