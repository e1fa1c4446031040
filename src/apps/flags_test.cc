// SPDX-License-Identifier: Apache-2.0
#include "apps/flags.h"

#include <gtest/gtest.h>

#include <set>

#include "apps/flag_help.h"
#include "apps/flag_markdown.h"
#include "apps/flag_value.h"
#include "apps/run_config.h"

namespace penstock {
namespace {

using Words = std::vector<std::string>;

Result<ParsedFlags> Parse(const Words& words) { return ParseFlags(words, ServeTable()); }
std::string ParseError(const Words& words) { return Parse(words).status().message(); }

// The tutorial's command line, word by word, as a shell hands it over.
const Words kSeedCommand = {"/mnt/weight/DeepSeek-V3.1-w8a8",
                            "--host",
                            "0.0.0.0",
                            "--port",
                            "8003",
                            "--served-model-name",
                            "model",
                            "--data-parallel-size",
                            "1",
                            "--tensor-parallel-size",
                            "8",
                            "--pipeline-parallel-size",
                            "2",
                            "--enable-expert-parallel",
                            "--max-num-seqs",
                            "32",
                            "--max-model-len",
                            "131072",
                            "--max-num-batched-tokens",
                            "32768",
                            "--gpu-memory-utilization",
                            "0.9",
                            "--enable-chunked-prefill",
                            "--no-enable-prefix-caching",
                            "--trust-remote-code",
                            "--quantization",
                            "ascend",
                            "--additional-config",
                            "{\n\"profiling_chunk_config\":{\"enabled\":true, \"smooth_factor\":1.0, "
                            "\"min_chunk\":4096}\n}"};

TEST(SeedCommand, ParsesVerbatim) {
  const auto flags = Parse(kSeedCommand);
  ASSERT_TRUE(flags.ok()) << flags.status().message();
  EXPECT_TRUE(flags->warnings().empty());
  const auto config =
      ResolveRunConfig(*flags, Environment{.omp_num_threads = 1, .allow_long_max_model_len = true});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->model_dir, "/mnt/weight/DeepSeek-V3.1-w8a8");
  EXPECT_EQ(flags->String("host"), "0.0.0.0");
  EXPECT_EQ(flags->Int("port"), 8003);
  EXPECT_EQ(flags->List("served-model-name"), (Words{"model"}));
  EXPECT_EQ(flags->Int("tensor-parallel-size"), 8);
  EXPECT_EQ(config->quantization, "ascend");
  EXPECT_EQ(config->layout.pp, 2);
  EXPECT_EQ(config->max_num_seqs, 32);
  EXPECT_EQ(config->max_model_len, 131072);
  EXPECT_EQ(config->max_num_batched_tokens, 32768);
  EXPECT_EQ(config->memory_utilization, 0.9);
  EXPECT_FALSE(config->enable_prefix_caching);
  EXPECT_EQ(config->threads_per_rank, 1);
  EXPECT_TRUE(config->allow_long_max_model_len);
  ASSERT_TRUE(config->profiling_chunk.has_value());
  EXPECT_TRUE(config->profiling_chunk->enabled);
  EXPECT_TRUE(config->profiling_chunk->need_timing);
  EXPECT_EQ(config->profiling_chunk->smooth_factor, 1.0);
  EXPECT_EQ(config->profiling_chunk->min_chunk, 4096);
}

TEST(SeedCommand, IsSupportedAsItStands) {
  const auto flags = *Parse(kSeedCommand);
  EXPECT_TRUE(CheckSupported(flags).ok()) << CheckSupported(flags).message();
  const auto config = *ResolveRunConfig(flags, Environment{});
  EXPECT_EQ(config.layout, (ParallelLayout{.pp = 2, .tp = 8, .expert_parallel = true}));
}

TEST(SeedCommand, SaysWhichFlagsHaveNoEffect) {
  EXPECT_EQ(NoOpLines(*Parse(kSeedCommand)),
            (Words{"--trust-remote-code has no effect: code from a checkpoint is never run"}));
}

TEST(ParallelFlags, MakeALayout) {
  const auto resolve = [](Words words, const Environment& env = {}) {
    words.insert(words.begin(), "model");
    return ResolveRunConfig(*Parse(words), env);
  };
  EXPECT_EQ(resolve({})->layout, ParallelLayout{});
  EXPECT_EQ(resolve({"-pp", "2", "-tp", "3", "-pcp", "4", "-ep"})->layout,
            (ParallelLayout{.pp = 2, .pcp = 4, .tp = 3, .expert_parallel = true}));
  EXPECT_EQ(resolve({"-dp", "2"})->layout, (ParallelLayout{.dp = 2}));
  EXPECT_FALSE(resolve({})->allow_oversubscription);
  EXPECT_TRUE(resolve({"--allow-oversubscription"})->allow_oversubscription);
  EXPECT_EQ(ParseError({"-tp", "0"}), "--tensor-parallel-size: got 0, expected 1 to 1024");
}

TEST(ParallelFlags, SequenceParallelismHasThreeSwitches) {
  const auto resolve = [](Words words, bool flashcomm1) {
    words.insert(words.begin(), "model");
    return ResolveRunConfig(*Parse(words), Environment{.flashcomm1 = flashcomm1})->sequence_parallel;
  };
  EXPECT_FALSE(resolve({}, false));
  EXPECT_TRUE(resolve({"--enable-sequence-parallel"}, false));
  EXPECT_TRUE(resolve({}, true));
  EXPECT_TRUE(resolve({"--additional-config", R"({"enable_flashcomm1": true})"}, false));
  EXPECT_FALSE(resolve({"--no-enable-sequence-parallel"}, true));
  EXPECT_FALSE(resolve(
      {"--no-enable-sequence-parallel", "--additional-config", R"({"enable_flashcomm1": true})"}, false));
  EXPECT_FALSE(
      ResolveRunConfig(*Parse({"model", "--additional-config", R"({"enable_flashcomm1": 1})"}), {}).ok());
  EXPECT_EQ(ResolveRunConfig(*Parse({"model", "--sequence-parallel-min-tokens", "1K"}), {})
                ->sequence_parallel_min_tokens,
            1024);
}

TEST(Flags, EveryWayToWriteAValue) {
  for (const Words& words : {Words{"--max-num-seqs", "32"}, Words{"--max-num-seqs=32"},
                             Words{"--max_num_seqs", "32"}, Words{"--max_num-seqs=32"}}) {
    EXPECT_EQ(Parse(words)->Int("max-num-seqs"), 32);
  }
  const auto flags = *Parse({"-tp", "2", "-pp=3", "-dp", "1", "-q", "fp8", "-O3", "-ep"});
  EXPECT_EQ(flags.Int("tensor-parallel-size"), 2);
  EXPECT_EQ(flags.Int("pipeline-parallel-size"), 3);
  EXPECT_EQ(flags.Int("data-parallel-size"), 1);
  EXPECT_EQ(flags.String("quantization"), "fp8");
  EXPECT_EQ(flags.String("optimization-level"), "3");
  EXPECT_TRUE(flags.Bool("enable-expert-parallel"));
  EXPECT_EQ(Parse({"--device-memory-utilization", "0.5"})->Float("gpu-memory-utilization"), 0.5);
  EXPECT_EQ(Parse({"--max-model-len", "auto"})->Int("max-model-len"), -1);
  EXPECT_EQ(Parse({"--max-model-len", "-1"})->Int("max-model-len"), -1);
}

TEST(Flags, Booleans) {
  EXPECT_TRUE(Parse({})->Bool("enable-prefix-caching"));
  EXPECT_FALSE(Parse({"--no-enable-prefix-caching"})->Bool("enable-prefix-caching"));
  EXPECT_FALSE(Parse({"--no_enable_prefix_caching"})->Bool("enable-prefix-caching"));
  EXPECT_FALSE(Parse({"--disable-prefix-caching"})->Bool("enable-prefix-caching"));
  EXPECT_FALSE(Parse({"--enable-prefix-caching=false"})->Bool("enable-prefix-caching"));
  EXPECT_TRUE(Parse({"--disable-log-stats"})->Bool("disable-log-stats"));
  EXPECT_FALSE(Parse({"--no-disable-log-stats"})->Bool("disable-log-stats"));
  EXPECT_EQ(ParseError({"--enable-prefix-caching=maybe"}),
            "--enable-prefix-caching: got \"maybe\", expected true or false");
  EXPECT_FALSE(Parse({"--no-port"}).ok());
}

TEST(Flags, Lists) {
  const auto flags =
      *Parse({"--served-model-name", "a", "b", "--port", "1", "--api-key", "x", "--api-key=y"});
  EXPECT_EQ(flags.List("served-model-name"), (Words{"a", "b"}));
  EXPECT_EQ(flags.List("api-key"), (Words{"x", "y"}));
  EXPECT_EQ(Parse({"--allowed-origins", "[\"a\", \"b\"]"})->List("allowed-origins"), (Words{"a", "b"}));
  EXPECT_EQ(Parse({})->List("allowed-origins"), Words{});
  EXPECT_EQ(Parse({})->List("allowed-methods"), Words{"*"});
  EXPECT_EQ(ParseError({"--served-model-name", "--port", "1"}),
            "--served-model-name: got no value, expected one or more words");
}

TEST(Flags, JsonByDottedKeys) {
  const auto flags =
      *Parse({"--additional-config.profiling_chunk_config.enabled", "true",
              "--additional_config.profiling_chunk_config.min_chunk=1k", "--additional-config.list+", "a",
              "--additional-config.list+=b,c", "--additional-config.name", "x.y"});
  EXPECT_EQ(flags.JsonValue("additional-config"), *ParseJson(R"({"profiling_chunk_config":
      {"enabled": true, "min_chunk": 1000}, "list": ["a", "b", "c"], "name": "x.y"})",
                                                             "test"));
  EXPECT_EQ(Parse({"--kv-transfer-config", R"({"bytes": 80m, "name": "80m", "f": 1.5k, "e": 1e5})"})
                ->JsonValue("kv-transfer-config"),
            *ParseJson(R"({"bytes": 80000000, "name": "80m", "f": 1500, "e": 1e5})", "test"));
  EXPECT_EQ(Parse({"-cc.mode=3"})->JsonValue("compilation-config"), *ParseJson(R"({"mode": 3})", "test"));
  EXPECT_EQ(ParseError({"--port.x", "1"}), "--port.x: --port does not take JSON, so it has no keys");
  EXPECT_FALSE(Parse({"--additional-config..x", "1"}).ok());
  EXPECT_TRUE(ParseError({"--additional-config", "{"}).starts_with("--additional-config: JSON: not JSON"));
}

TEST(Flags, Sizes) {
  EXPECT_EQ(*ParseSize("32768"), 32768);
  EXPECT_EQ(*ParseSize("1k"), 1000);
  EXPECT_EQ(*ParseSize("1K"), 1024);
  EXPECT_EQ(*ParseSize("25.6k"), 25600);
  EXPECT_EQ(*ParseSize("1m"), 1000000);
  EXPECT_EQ(*ParseSize("2M"), 2 << 20);
  EXPECT_EQ(*ParseSize("8G"), int64_t{8} << 30);
  EXPECT_EQ(*ParseSize("1t"), 1000000000000);
  EXPECT_EQ(ParseSize("25.6K").status().message(),
            "got \"25.6K\", expected no fraction with a binary suffix; 25.6k is decimal");
  for (const char* bad : {"", "k", "1kk", "1.5", "-1k", "1.k", ".5k", "0x10", "1e3k", "infk", "99999999T"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
}

TEST(Flags, ErrorsSayNameGotAndExpected) {
  EXPECT_EQ(ParseError({"--max-num-seqs", "many"}), "--max-num-seqs: got \"many\", expected an integer");
  EXPECT_EQ(ParseError({"--max-num-seqs", "0"}), "--max-num-seqs: got 0, expected 1 to 65536");
  EXPECT_EQ(ParseError({"--port", "70000"}), "--port: got 70000, expected 0 to 65535");
  EXPECT_EQ(ParseError({"--max-model-len", "0"}), "--max-model-len: got 0, expected at least 1");
  EXPECT_EQ(ParseError({"--gpu-memory-utilization", "1.5"}),
            "--gpu-memory-utilization: got 1.5, expected 0 to 1");
  EXPECT_EQ(ParseError({"--gpu-memory-utilization", "nan"}),
            "--gpu-memory-utilization: got \"nan\", expected a number");
  EXPECT_EQ(ParseError({"--dtype", "int4"}),
            "--dtype: got \"int4\", expected one of auto|bfloat16|float32|float|half|float16");
  EXPECT_EQ(ParseError({"--port"}), "--port: got no value, expected one");
  EXPECT_EQ(ParseError({"--port", "--host", "a"}), "--port: got no value, expected one");
}

TEST(Flags, UnknownFlagsComeWithAHint) {
  EXPECT_EQ(ParseError({"--max-num-seq", "1"}), "unknown flag --max-num-seq; did you mean --max-num-seqs?");
  EXPECT_EQ(ParseError({"--pipeline-parallel", "1"}),
            "unknown flag --pipeline-parallel; did you mean --pipeline-parallel-size?");
  EXPECT_EQ(ParseError({"--tensor-paralel-size=2"}),
            "unknown flag --tensor-paralel-size; did you mean --tensor-parallel-size?");
  EXPECT_EQ(ParseError({"--zzzzzzzzzzzz"}), "unknown flag --zzzzzzzzzzzz; --help=all lists them");
  EXPECT_EQ(ParseError({"-zz"}), "unknown flag -zz; --help=all lists them");
}

TEST(Flags, TheLastOfTwoCounts) {
  const auto flags = *Parse({"--port", "1", "--port", "2"});
  EXPECT_EQ(flags.Int("port"), 2);
  EXPECT_EQ(flags.warnings(), (Words{"--port was given more than once: the last one counts"}));
}

TEST(Flags, HelpAndVersion) {
  EXPECT_FALSE(Parse({})->help().has_value());
  EXPECT_EQ(Parse({"--help"})->help(), "");
  EXPECT_EQ(Parse({"-h"})->help(), "");
  EXPECT_EQ(Parse({"--help=Max_Num"})->help(), "max-num");
  EXPECT_TRUE(Parse({"--version"})->version());
}

TEST(Flags, UnsupportedOnesPassWithHarmlessValues) {
  for (const Words& words :
       {Words{"-dcp", "1"}, Words{"--no-enable-lora"}, Words{"--load-format", "safetensors"},
        Words{"--watermark", "0"}, Words{"--speculative-config", "{}"}, Words{"--uds="},
        Words{"--scheduler-cls="}, Words{"--enable-chunked-prefill"}}) {
    EXPECT_TRUE(CheckSupported(*Parse(words)).ok()) << words[0];
  }
  for (const Words& words :
       {Words{"-dcp", "2"}, Words{"--enable-lora"}, Words{"--load-format", "gguf"},
        Words{"--watermark", "0.1"}, Words{"--speculative-config", "{\"method\": \"x\"}"}, Words{"--uds=/x"},
        Words{"--scheduler-cls", "x"}, Words{"--no-enable-chunked-prefill"}}) {
    const Status status = CheckSupported(*Parse(words));
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << words[0];
  }
}

TEST(FlagTables, AreConsistent) {
  for (const FlagTable& table : {ServeTable(), CompleteTable(), BenchLatencyTable(), BenchKernelsTable(),
                                 BenchLayoutsTable(), SimulateCommandTable(), PlanCommandTable()}) {
    std::set<std::string_view> names;
    for (const auto& specs : table) {
      for (const FlagSpec& spec : specs) {
        EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
        EXPECT_EQ(spec.name.find('_'), std::string_view::npos) << spec.name;
        EXPECT_FALSE(spec.help.empty()) << spec.name;
        EXPECT_TRUE(spec.aliases.empty() || names.insert(spec.aliases).second) << spec.aliases;
        FlagDefault(spec);  // a default that its own kind refuses is a CHECK failure
      }
    }
  }
}

TEST(FlagHelp, ListsEveryFlag) {
  for (const FlagTable& table : {ServeTable(), CompleteTable(), BenchLatencyTable(), BenchKernelsTable(),
                                 BenchLayoutsTable(), SimulateCommandTable(), PlanCommandTable()}) {
    const std::string plain = CommandHelp("usage", "about", table, "");
    const std::string all = CommandHelp("usage", "about", table, "all");
    for (const auto& specs : table) {
      for (const FlagSpec& spec : specs) {
        const bool is_on = spec.kind == FlagKind::kBool && spec.default_text == "true";
        const std::string line = "\n  --" + std::string(is_on ? "[no-]" : "") + std::string(spec.name);
        EXPECT_NE(all.find(line), std::string::npos) << spec.name;
        EXPECT_EQ(plain.find(line + "\n") != std::string::npos || plain.find(line + " ") != std::string::npos,
                  spec.flag_class == FlagClass::kImplemented)
            << spec.name;
      }
    }
  }
}

TEST(FlagHelp, FindsGroupsAndWords) {
  const std::string group = CommandHelp("usage", "about", ServeTable(), "schedulerconfig");
  EXPECT_NE(group.find("--max-num-seqs"), std::string::npos);
  EXPECT_EQ(group.find("--block-size"), std::string::npos);
  const std::string word = CommandHelp("usage", "about", ServeTable(), "max-num");
  EXPECT_NE(word.find("--max-num-seqs"), std::string::npos);
  EXPECT_EQ(word.find("--max-model-len"), std::string::npos);
  EXPECT_NE(CommandHelp("usage", "about", ServeTable(), "xyzzy").find("No group or flag"), std::string::npos);
  EXPECT_NE(MainHelp().find("bench latency"), std::string::npos);
  EXPECT_NE(MainHelp().find("bench kernels"), std::string::npos);
}

TEST(FlagMarkdown, DocsCliMdIsUpToDate) {
  const std::string text = *ReadTextFile(PENSTOCK_SOURCE_DIR "/docs/cli.md");
  const std::string marker = "<!-- flags -->\n\n";
  const size_t begin = text.find(marker);
  ASSERT_NE(begin, std::string::npos);
  EXPECT_TRUE(text.substr(begin + marker.size()) == FlagsMarkdown())
      << "replace what follows the marker in docs/cli.md by the output of `penstock help markdown`";
}

}  // namespace
}  // namespace penstock
