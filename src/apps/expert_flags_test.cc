// SPDX-License-Identifier: Apache-2.0
#include "apps/expert_flags.h"

#include <gtest/gtest.h>

#include "apps/run_config.h"

namespace penstock {
namespace {

Result<RunConfig> Resolve(std::vector<std::string> words) {
  words.insert(words.begin(), "m");
  ASSIGN_OR_RETURN(const ParsedFlags flags, ParseFlags(words, ServeTable()));
  return ResolveRunConfig(flags, {});
}
std::string Error(std::vector<std::string> words) { return Resolve(std::move(words)).status().message(); }

TEST(ExpertFlags, OwnNames) {
  const RunConfig run = *Resolve(
      {"-ep", "--expert-placement", "a.json", "--num-redundant-experts", "4", "--record-expert-load", "b"});
  EXPECT_EQ(run.experts.placement_file, "a.json");
  EXPECT_EQ(run.experts.num_redundant, 4);
  EXPECT_EQ(run.experts.record_file, "b");
  EXPECT_TRUE(run.warnings.empty());
  EXPECT_EQ(Resolve({})->experts.placement_file, "");
  EXPECT_EQ(Resolve({"--record-expert-load", "b"})->experts.record_file, "b");
}

TEST(ExpertFlags, NamesOfVllm) {
  const RunConfig run =
      *Resolve({"-ep", "--enable-eplb", "--eplb-config",
                R"({"num_redundant_experts": 3, "window_size": 100})", "--expert-placement", "a.json"});
  EXPECT_EQ(run.experts.num_redundant, 3);
  ASSERT_EQ(run.warnings.size(), 2u) << "neither moves experts";
  EXPECT_TRUE(run.warnings[0].starts_with("--enable-eplb: experts are placed once, at start"));
  EXPECT_TRUE(run.warnings[1].starts_with("--eplb-config: window_size: experts are placed once, at start"));
  EXPECT_EQ(Resolve({"-ep", "--eplb-config.num_redundant_experts", "3", "--num-redundant-experts", "5",
                     "--expert-placement", "a.json"})
                ->experts.num_redundant,
            5);
  const RunConfig unknown = *Resolve({"-ep", "--eplb-config.num_redundant_experts", "3"});
  EXPECT_EQ(unknown.experts.num_redundant, 0) << "which ones is not known";
  EXPECT_EQ(unknown.warnings.size(), 1u);
}

TEST(ExpertFlags, NamesOfVllmAscend) {
  const RunConfig run =
      *Resolve({"-ep", "--additional-config",
                R"({"eplb_config": {"expert_map_path": "a.json", "expert_map_record_path": "b.json",
                    "num_redundant_experts": 2, "dynamic_eplb": false}})"});
  EXPECT_EQ(run.experts.placement_file, "a.json");
  EXPECT_EQ(run.experts.record_file, "b.json");
  EXPECT_EQ(run.experts.num_redundant, 2);
  EXPECT_TRUE(run.warnings.empty());
  EXPECT_EQ(Resolve({"--additional-config", R"({"eplb_config": {"dynamic_eplb": true}})"})->warnings.size(),
            1u);
}

TEST(ExpertFlags, RefusesWhatMakesNoSense) {
  EXPECT_EQ(Error({"--expert-placement", "a.json"}),
            "--expert-placement a.json: got no --enable-expert-parallel, which spreads experts over ranks");
  EXPECT_TRUE(Error({"-ep", "--num-redundant-experts", "4"}).starts_with("4 redundant experts: which ones"));
  EXPECT_EQ(Error({"--eplb-config", "[1]"}), "--eplb-config: got [1], expected a JSON object");
  EXPECT_TRUE(Error({"--eplb-config", R"({"num_redundant_experts": -1})"})
                  .starts_with("--eplb-config.num_redundant_experts: got -1, expected a number of experts"));
  EXPECT_EQ(Resolve({"--eplb-config", R"({"unheard_of": 1})"}).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Resolve({"--eplb-config", R"({"expert_map_path": "a"})"}).status().code(),
            StatusCode::kUnimplemented);
  EXPECT_EQ(Error({"--additional-config", R"({"eplb_config": {"expert_map_path": 3}})"}),
            "--additional-config.eplb_config.expert_map_path: got 3, expected the path of a file");
}

}  // namespace
}  // namespace penstock
