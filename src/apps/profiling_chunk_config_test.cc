// The cases of vLLM-Ascend's own tests of its configuration, and what its source says besides.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/profiling_chunk_config.h"

#include <gtest/gtest.h>

#include "apps/run_config.h"

namespace penstock {
namespace {

using Words = std::vector<std::string>;

Result<AdditionalConfig> Parse(const std::string& json,
                               AdditionalConfigContext context = {.pipeline_stages = 2,
                                                                  .max_num_batched_tokens = 8192}) {
  return ParseAdditionalConfig(*ParseJson(json, "test"), context);
}
std::string Error(const std::string& json, int32_t stages = 2) {
  return Parse(json, {.pipeline_stages = stages, .max_num_batched_tokens = 8192}).status().message();
}
std::string Chunk(const std::string& fields) {
  return "{\"scheduler_config\": {\"profiling_chunk_config\": {" + fields + "}}}";
}

TEST(ProfilingChunkConfig, Defaults) {
  const auto config = Parse(Chunk(""))->profiling_chunk;
  EXPECT_FALSE(config->enabled);
  EXPECT_FALSE(config->need_timing);
  EXPECT_EQ(config->smooth_factor, 1.0);
  EXPECT_EQ(config->min_chunk, 4096);
  EXPECT_EQ(config->max_fit_chunk, 30);
  EXPECT_FALSE(config->smooth_factor_given);
  EXPECT_FALSE(config->min_chunk_given);
  EXPECT_FALSE(ParseAdditionalConfig(Json(), {})->profiling_chunk.has_value());
  EXPECT_FALSE(Parse("{\"scheduler_config\": null}")->profiling_chunk.has_value());
}

TEST(ProfilingChunkConfig, AllFields) {
  const auto config = Parse(Chunk(R"("enabled": true, "smooth_factor": 0.8, "min_chunk": 64,
                                     "need_timing": false, "max_fit_chunk": 50)"))
                          ->profiling_chunk;
  EXPECT_TRUE(config->enabled);
  EXPECT_FALSE(config->need_timing);
  EXPECT_EQ(config->smooth_factor, 0.8);
  EXPECT_EQ(config->min_chunk, 64);
  EXPECT_EQ(config->max_fit_chunk, 50);
  EXPECT_TRUE(config->smooth_factor_given);
  EXPECT_TRUE(config->min_chunk_given);
  EXPECT_TRUE(Parse(Chunk("\"enabled\": true"))->profiling_chunk->need_timing);
  EXPECT_EQ(Parse(Chunk("\"smooth_factor\": 1"))->profiling_chunk->smooth_factor, 1.0);
}

TEST(ProfilingChunkConfig, NeedTimingWithoutEnabledWarnsOnce) {
  const auto config = *Parse(Chunk(R"("enabled": false, "need_timing": true)"));
  EXPECT_FALSE(config.profiling_chunk->need_timing);
  EXPECT_EQ(config.warnings.size(), 1u);
}

TEST(ProfilingChunkConfig, Bounds) {
  EXPECT_EQ(Error(Chunk("\"smooth_factor\": 0.0")),
            "profiling_chunk_config.smooth_factor must be in (0, 1], got 0");
  EXPECT_EQ(Error(Chunk("\"smooth_factor\": 1.5")),
            "profiling_chunk_config.smooth_factor must be in (0, 1], got 1.5");
  EXPECT_EQ(Error(Chunk("\"min_chunk\": 0")), "profiling_chunk_config.min_chunk must be positive, got 0");
  EXPECT_EQ(Error(Chunk("\"max_fit_chunk\": 5")),
            "profiling_chunk_config.max_fit_chunk: Recommend to use at least 30 data points for fitting, got "
            "5");
  EXPECT_TRUE(Parse(Chunk("\"max_fit_chunk\": 6")).ok());
  EXPECT_EQ(Error(Chunk("\"enabled\": 1")), "profiling_chunk_config.enabled must be a bool, got int");
  EXPECT_EQ(Error(Chunk("\"min_chunk\": 1.5")), "profiling_chunk_config.min_chunk must be an int, got float");
  EXPECT_EQ(Error(Chunk("\"smooth_factor\": \"1\"")),
            "profiling_chunk_config.smooth_factor must be a float, got str");
}

TEST(ProfilingChunkConfig, IsCheckedEvenWhereItIsNotEnabled) {
  EXPECT_FALSE(Parse(Chunk(R"("enabled": false, "smooth_factor": 2)")).ok());
}

TEST(ProfilingChunkConfig, NeedsAPipeline) {
  EXPECT_EQ(Error(Chunk("\"enabled\": true"), 1),
            "profiling_chunk_config requires pipeline parallelism (pp > 1). Please set "
            "--pipeline-parallel-size to a value greater than 1, or disable profiling_chunk_config.");
  EXPECT_EQ(Error(Chunk("\"enabled\": false"), 1), "");
  EXPECT_EQ(Error(Chunk("\"enabled\": true"), 2), "");
}

TEST(ProfilingChunkConfig, MinChunkIsLoweredToTheFirstChunk) {
  const auto config = *Parse(Chunk(R"("enabled": true, "min_chunk": 9999)"));
  EXPECT_EQ(config.profiling_chunk->min_chunk, 8192);
  ASSERT_EQ(config.warnings.size(), 1u);
  EXPECT_EQ(config.warnings[0],
            "profiling_chunk_config.min_chunk 9999 is lowered to --max-num-batched-tokens 8192");
  const auto by_default =
      Parse(Chunk("\"enabled\": true"), {.pipeline_stages = 2, .max_num_batched_tokens = 2048});
  EXPECT_EQ(by_default->profiling_chunk->min_chunk, 2048);
}

TEST(ProfilingChunkConfig, OldPlace) {
  const auto config = *Parse(R"({"profiling_chunk_config": {"enabled": true}})");
  EXPECT_TRUE(config.profiling_chunk->enabled);
  EXPECT_EQ(config.warnings, (Words{"additional_config.profiling_chunk_config is deprecated; use "
                                    "additional_config.scheduler_config.profiling_chunk_config instead."}));
  // Four old keys, four warnings.
  EXPECT_EQ(Parse(R"({"profiling_chunk_config": {}, "enable_balance_scheduling": false,
                      "short_request_first_config": {}, "batch_job_sched_config": {"enabled": false}})")
                ->warnings.size(),
            4u);
  EXPECT_EQ(Parse(R"({"scheduler_config": null, "profiling_chunk_config": {}})")->warnings.size(), 1u);
}

TEST(ProfilingChunkConfig, TheNewPlaceWinsAsAWhole) {
  const auto config = *Parse(
      R"({"scheduler_config": {"profiling_chunk_config": {"enabled": true, "min_chunk": 64}},
          "profiling_chunk_config": {"smooth_factor": 0.5}, "short_request_first_config": {}})");
  EXPECT_EQ(config.profiling_chunk->min_chunk, 64);
  EXPECT_EQ(config.profiling_chunk->smooth_factor, 1.0);
}

TEST(ProfilingChunkConfig, OtherSchedulersAreExcluded) {
  const std::string balance =
      "profiling_chunk_config and balance scheduling (enable_balance_scheduling) cannot be enabled at the "
      "same time. Please disable one of them.";
  EXPECT_EQ(Error(R"({"scheduler_config": {"profiling_chunk_config": {"enabled": true},
                                           "enable_balance_scheduling": true}})"),
            balance);
  EXPECT_EQ(Error(R"({"profiling_chunk_config": {"enabled": true}, "enable_balance_scheduling": true})"),
            balance);
  EXPECT_EQ(Parse(Chunk("\"enabled\": true"), {.pipeline_stages = 2, .balance_scheduling = true})
                .status()
                .message(),
            balance);
  EXPECT_TRUE(Parse(Chunk("\"enabled\": false"), {.balance_scheduling = true}).ok());
  EXPECT_EQ(Error(R"({"scheduler_config": {"profiling_chunk_config": {"enabled": true},
                                           "short_request_first_config": {"enabled": true}}})"),
            "ShortRequestFirst scheduling cannot be enabled with profiling_chunk_config. Please disable one "
            "of them.");
  EXPECT_EQ(Error(R"({"scheduler_config": {"profiling_chunk_config": {"enabled": true},
                                           "dyntra_lb_config": {"enabled": true}}})"),
            "DyntraLB cannot be used with profiling_chunk_config.");
}

TEST(ProfilingChunkConfig, OtherSchedulersAreNotHere) {
  const auto status =
      Parse(R"({"scheduler_config": {"batch_job_sched_config": {"enabled": true}}})").status();
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(status.message().starts_with("additional_config.scheduler_config.batch_job_sched_config:"));
  EXPECT_TRUE(Parse(R"({"scheduler_config": {"enable_balance_scheduling": false}})").ok());
}

TEST(ProfilingChunkConfig, NoDict) {
  EXPECT_EQ(Error("{\"scheduler_config\": []}"),
            "additional_config.scheduler_config must be a dict, got list.");
  EXPECT_EQ(Error("[1]"), "additional_config must be a dict, got list.");
  EXPECT_EQ(Error("{\"profiling_chunk_config\": 3}"),
            "additional_config.profiling_chunk_config must be a dict, got int.");
}

TEST(ProfilingChunkConfig, UnknownKeysAreNamed) {
  EXPECT_TRUE(Error("{\"enable_weight_nz_layout\": true}")
                  .starts_with("additional_config.enable_weight_nz_layout: not a known key; known: "
                               "scheduler_config, profiling_chunk_config"));
  EXPECT_TRUE(Error("{\"scheduler_config\": {\"x\": 1}}")
                  .starts_with("additional_config.scheduler_config.x: not a known key"));
  EXPECT_TRUE(Error("{\"profiling_chunk_config\": {\"x\": 1}}")
                  .starts_with("additional_config.profiling_chunk_config.x: not a known key"));
}

TEST(ProfilingChunkConfig, DottedFlags) {
  const auto resolve = [](Words words) {
    words.insert(words.begin(), {"m", "-pp", "2", "--max-num-batched-tokens", "8192"});
    const Result<ParsedFlags> flags = ParseFlags(words, ServeTable());
    EXPECT_TRUE(flags.ok()) << flags.status().message();
    return ResolveRunConfig(*flags, {});
  };
  const auto old_place = resolve({"--additional-config.profiling_chunk_config.enabled", "true",
                                  "--additional-config.profiling_chunk_config.smooth_factor=0.9"});
  ASSERT_TRUE(old_place.ok()) << old_place.status().message();
  EXPECT_TRUE(old_place->profiling_chunk->enabled);
  EXPECT_EQ(old_place->profiling_chunk->smooth_factor, 0.9);
  const auto new_place = resolve(
      {"--additional-config", R"({"scheduler_config": {"profiling_chunk_config": {"min_chunk": 64}}})",
       "--additional_config.scheduler_config.profiling_chunk_config.enabled", "true",
       "--additional-config.scheduler_config.profiling_chunk_config.max_fit_chunk", "40"});
  ASSERT_TRUE(new_place.ok()) << new_place.status().message();
  EXPECT_EQ(new_place->profiling_chunk->min_chunk, 64);
  EXPECT_EQ(new_place->profiling_chunk->max_fit_chunk, 40);
  EXPECT_EQ(resolve({"--additional-config.profiling_chunk_config.smooth_factor", "2"}).status().message(),
            "--additional-config: profiling_chunk_config.smooth_factor must be in (0, 1], got 2");
}

}  // namespace
}  // namespace penstock
