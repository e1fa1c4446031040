// The flags of the commands that run no model: simulate and plan.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_spec.h"

namespace penstock {
namespace {

using enum FlagKind;
constexpr FlagClass kDo = FlagClass::kImplemented;
constexpr double kMostTokens = 1 << 26;

constexpr FlagSpec kSimulationFlags[] = {
    {"cost", "", kString, kDo, "pipeline", "",
     "The cost model. Of the whole model, in seconds: {\"alpha\": …, \"beta\": …, \"gamma\": …, \"floor\": "
     "…, "
     "\"d0\": …}; of each stage, in microseconds: {\"stages\": [{\"step_us\": …, \"token_us\": …, …}, …]}; "
     "@FILE with one of these, or a saved fit; or the name of a reference: deepseek-v3.1, qwen3-235b, "
     "kimi-k2.5, each also with -lean (an engine of small overheads)."},
    {"pipeline-parallel-size", "-pp", kInt, kDo, "pipeline", "",
     "Number of pipeline stages. Unset: that of --cost or --stage-shares, else 2.", "", 1, 1024},
    {"stage-shares", "", kString, kDo, "pipeline", "",
     "Share of the model on each stage, in any unit: 1,1,1.25. Unset: equal shares."},
    {"max-num-batched-tokens", "", kSize, kDo, "scheduling", "32768",
     "Most tokens in one step, and the first chunk of the policies that need one.", "", 1, 1 << 24},
    {"block-size", "", kInt, kDo, "scheduling", "128", "Tokens in one block of the KV cache.", "", 1,
     1 << 20},
    {"chunk-policy", "", kString, kDo, "chunks", "all",
     "Which policies to compare, joined by commas: static, equal-latency, sglang, optimal; or all."},
    {"smooth-factor", "", kFloat, kDo, "chunks", "",
     "As profiling_chunk_config has it: more than 0, at most 1. Unset: each policy's own.", "", 0, 1},
    {"min-chunk", "", kSize, kDo, "chunks", "", "As profiling_chunk_config has it. Unset: each policy's own.",
     "", 1, 1 << 24},
    {"warm-up", "", kBool, kDo, "chunks", "true",
     "First send five prompts of full length, one after the other, from which policies that learn can "
     "learn."},
    {"json", "", kBool, kDo, "output", "false", "Print JSON instead of a table."},
};

constexpr FlagSpec kSimulateFlags[] = {
    {"prompt-len", "", kSize, kDo, "workload", "128K", "Tokens of each prompt.", "", 1, kMostTokens},
    {"prompt-len-mean", "", kSize, kDo, "workload", "",
     "Draw lengths from a normal distribution around this mean instead, cut off at the ends.", "", 1,
     kMostTokens},
    {"prompt-len-std", "", kSize, kDo, "workload", "0", "Its standard deviation.", "", 0, kMostTokens},
    {"prompt-len-min", "", kSize, kDo, "workload", "1", "Its lower end.", "", 1, kMostTokens},
    {"prompt-len-max", "", kSize, kDo, "workload", "", "Its upper end.", "", 1, kMostTokens},
    {"output-len", "", kSize, kDo, "workload", "1", "Tokens to generate for each.", "", 1, kMostTokens},
    {"prefix-hit-share", "", kFloat, kDo, "workload", "0",
     "Share of each prompt that is in the prefix cache already.", "", 0, 1},
    {"num-requests", "", kInt, kDo, "workload", "",
     "Number of requests. Unset: 1; 100 with --request-rate, --num-clients or --prompt-len-mean.", "", 1,
     1 << 20},
    {"request-rate", "", kFloat, kDo, "workload", "",
     "Requests per second that arrive at random (Poisson). Unset: all at the begin.", "", 0, 1e6},
    {"num-clients", "", kInt, kDo, "workload", "",
     "Closed loop: so many clients, each of which sends a request when its last one has ended.", "", 1,
     1 << 16},
    {"client-ms", "", kFloat, kDo, "workload", "0",
     "What a client takes between an answer and its next request: it, the network, the tokenizer.", "", 0,
     1e6},
    {"client-us-per-token", "", kFloat, kDo, "workload", "0",
     "The same for each token of the next request's prompt.", "", 0, 1e6},
    {"trace-in", "", kString, kDo, "workload", "",
     "File of recorded requests, one a line: {\"arrival_s\": 0.5, \"prompt_len\": 8192, \"output_len\": 1, "
     "\"cached_len\": 0}."},
    {"seed", "", kInt, kDo, "workload", "0", "Seed of lengths, arrivals and noise.", "", 0},
    {"noise", "", kFloat, kDo, "pipeline", "0",
     "Standard deviation of the time of each step on each stage, relative to what --cost says.", "", 0, 10},
    {"scheduling-policy", "", kString, kDo, "scheduling", "srpt",
     "Whose prompt is computed first: srpt (the one with the least predicted work left; waiting counts), "
     "fcfs "
     "(first come, first served), or priority (all are equal here).",
     "fcfs|priority|srpt"},
    {"max-num-seqs", "", kInt, kDo, "scheduling", "256",
     "Most sequences that run at the same time (at most --max-num-batched-tokens).", "", 1, 1 << 16},
    {"fixed-target-ms", "", kFloat, kDo, "chunks", "",
     "For comparisons: let the policy optimal aim at this time for every chunk.", "", 0, 1e9},
    {"trace-file", "--trace", kString, kDo, "output", "",
     "Write a timeline of every step on every stage to this file (Chrome trace JSON; ui.perfetto.dev opens "
     "it). Of several policies: one file each, with the policy in its name."},
    {"per-request", "", kBool, kDo, "output", "false", "Also print every request."},
};

constexpr FlagSpec kLayoutFlags[] = {
    {"layouts", "", kString, kDo, "layouts", "",
     "Compare layouts of ranks instead of policies, joined by commas: pp2tp8,tp16,pcp2tp8,dp2tp8; with +ep, "
     "experts are spread over the ranks. Takes --model and --cluster in place of --cost."},
    {"model", "", kString, kDo, "layouts", "deepseek-v3.1",
     "The model: a directory with a config.json, or deepseek-v3.1 or qwen3-235b (8-bit weights)."},
    {"cluster", "", kString, kDo, "layouts", "a3",
     "The machine and its engine: a3, a3-vllm-ascend, or @FILE or a JSON object with what is not as in a3 "
     "(docs/simulate.md)."},
    {"cluster-set", "", kList, kDo, "layouts", "",
     "Change single numbers of the machine: intra_bytes_per_s=1e11 layer_us=300."},
    {"enable-expert-parallel", "", kBool, kDo, "layouts", "false", "All layouts have +ep."},
};

constexpr FlagSpec kPlanFlags[] = {
    {"prompt-len", "", kString, kDo, "plan", "8K,32K,128K", "Tokens of the prompts, joined by commas."},
};

}  // namespace

std::span<const FlagSpec> SimulationFlags() { return kSimulationFlags; }
std::span<const FlagSpec> SimulateFlags() { return kSimulateFlags; }
std::span<const FlagSpec> LayoutFlags() { return kLayoutFlags; }
std::span<const FlagSpec> PlanFlags() { return kPlanFlags; }

FlagTable SimulateCommandTable() { return {SimulationFlags(), SimulateFlags(), LayoutFlags()}; }
FlagTable PlanCommandTable() { return {SimulationFlags(), PlanFlags()}; }

}  // namespace penstock
