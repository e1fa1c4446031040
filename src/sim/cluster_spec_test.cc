// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster_spec.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace penstock {
namespace {

std::string Error(std::string_view text) { return ParseClusterSpec(text).status().message(); }

TEST(ClusterSpec, WhatIsLeftOutIsAsInTheBase) {
  EXPECT_EQ(*ParseClusterSpec("a3"), ClusterSpec());
  EXPECT_EQ(*ParseClusterSpec("{}"), ClusterSpec());
  ClusterSpec expected;
  expected.intra_bytes_per_s = 1e11;
  expected.layer_us = 0;
  EXPECT_EQ(*ParseClusterSpec(R"({"comment": "x", "intra_bytes_per_s": 1e11, "layer_us": 0})"), expected);
  const ClusterSpec seed = *ParseClusterSpec(R"({"base": "a3-vllm-ascend"})");
  EXPECT_EQ(seed, *ParseClusterSpec("a3-vllm-ascend"));
  EXPECT_NE(seed, ClusterSpec());
}

TEST(ClusterSpec, EveryFieldCanBeWrittenAndRead) {
  ClusterSpec cluster;
  double value = 1.5;
  for (const ClusterField& field : ClusterFields()) cluster.*field.member = value++;
  EXPECT_EQ(*ParseClusterSpec(ClusterSpecJson(cluster).dump()), cluster);
  EXPECT_EQ(ClusterFields().size() * sizeof(double), sizeof(ClusterSpec));
  const std::string path = testing::TempDir() + "cluster_spec_test.json";
  std::ofstream(path) << ClusterSpecJson(cluster);
  EXPECT_EQ(*ParseClusterSpec("@" + path), cluster);
  std::remove(path.c_str());
  EXPECT_EQ(ParseClusterSpec("@" + path).status().code(), StatusCode::kNotFound);
}

TEST(ClusterSpec, SaysWhatIsWrong) {
  EXPECT_EQ(Error("a4"), "got \"a4\", expected a JSON object, @FILE, a3, a3-vllm-ascend");
  EXPECT_EQ(Error(R"({"int8_flops": 0})"), "\"int8_flops\": got 0, expected a number > 0");
  EXPECT_EQ(Error(R"({"layer_us": -1})"), "\"layer_us\": got -1, expected a number >= 0");
  EXPECT_TRUE(Error(R"({"flops": 1})").starts_with("got \"flops\", expected base, comment, int8_flops, "));
  EXPECT_EQ(Error(R"({"base": 1})"), "\"base\": got 1, expected a name");
}

}  // namespace
}  // namespace penstock
