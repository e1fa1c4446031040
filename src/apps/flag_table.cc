// The flags that work, and which tables each command has. One table entry is all there is to a flag: parsing,
// help and the check of docs/cli.md read it from here.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_spec.h"

namespace penstock {
namespace {

using enum FlagKind;
constexpr FlagClass kDo = FlagClass::kImplemented;

constexpr FlagSpec kImplementedFlags[] = {
    {"model", "", kString, kDo, "ModelConfig", "",
     "Model directory (config.json, *.safetensors, tokenizer.json); or the first word after the command."},
    {"tokenizer", "", kString, kDo, "ModelConfig", "", "Directory of tokenizer.json, if not the model's."},
    {"dtype", "", kString, kDo, "ModelConfig", "auto",
     "Type of weights and activations. auto: bfloat16, or float32 where the checkpoint is float32. "
     "float16 is refused: this engine computes in bfloat16 or float32.",
     "auto|bfloat16|float32|float|half|float16"},
    {"quantization", "-q", kString, kDo, "ModelConfig", "",
     "Unset: as the checkpoint says. ascend, compressed-tensors, fp8: insist on that format. w8a8-dynamic: "
     "make "
     "float (or block FP8) weights 8-bit integers as they are loaded.",
     "none|None|null|ascend|compressed-tensors|fp8|w8a8-dynamic"},
    {"max-model-len", "", kSizeOrAuto, kDo, "ModelConfig", "",
     "Longest prompt and output together, in tokens. Unset: the model's own limit. auto (or -1): the most "
     "that memory allows, up to that limit.",
     "", 1},
    {"seed", "", kInt, kDo, "ModelConfig", "0", "Seed of requests that bring none."},
    {"generation-config", "", kString, kDo, "ModelConfig", "auto",
     "Where default sampling values come from: auto (generation_config.json of the model), vllm (neutral "
     "ones), or a directory."},
    {"override-generation-config", "", kJson, kDo, "ModelConfig", "",
     "JSON of default sampling values that replace those of --generation-config: {\"temperature\": 0.6}."},
    {"max-logprobs", "", kInt, kDo, "ModelConfig", "20",
     "Most log-probabilities that a request may ask for at each token. -1: the whole vocabulary.", "", -1},
    {"pipeline-parallel-size", "-pp", kInt, kDo, "ParallelConfig", "1",
     "Number of pipeline stages, each with its own layers.", "", 1, 1024},
    {"tensor-parallel-size", "-tp", kInt, kDo, "ParallelConfig", "1",
     "Ranks of each stage that share its matrices: attention heads, inner dimensions and the vocabulary are "
     "cut among them.",
     "", 1, 1024},
    {"prefill-context-parallel-size", "-pcp", kInt, kDo, "ParallelConfig", "1",
     "Ranks of each stage (times --tensor-parallel-size) that share the tokens of its chunks.", "", 1, 1024},
    {"data-parallel-size", "-dp", kInt, kDo, "ParallelConfig", "1",
     "Replicas of the whole model in this process, each with cores, a KV cache and a queue of its own. A "
     "request goes to the one that is predicted to be done with its prompt first; what a replica has cached "
     "counts.",
     "", 1, 1024},
    {"enable-expert-parallel", "-ep", kBool, kDo, "ParallelConfig", "false",
     "Spread whole experts over the ranks of a stage, in place of cutting each of them among the "
     "tensor-parallel ranks."},
    {"expert-placement", "", kString, kDo, "penstock", "",
     "With --enable-expert-parallel: a file that says which ranks hold which experts: a load that "
     "--record-expert-load wrote, by which experts are placed so that ranks have the same to do, or an "
     "expert "
     "map of vLLM-Ascend (expert_map_path). Of several processes, process 0's file. Unset: blocks of "
     "neighbouring experts. Also read from --additional-config.eplb_config.expert_map_path."},
    {"num-redundant-experts", "", kInt, kDo, "penstock", "0",
     "With a recorded load: experts of each layer that are held once more, the most wanted first. Also read "
     "from --eplb-config and --additional-config.eplb_config (num_redundant_experts).",
     "", 0, 1 << 20},
    {"record-expert-load", "", kString, kDo, "penstock", "",
     "Write how many tokens were routed to each expert to this file (JSON) at the end. Also read from "
     "--additional-config.eplb_config.expert_map_record_path."},
    {"enable-eplb", "", kBool, kDo, "ParallelConfig", "false",
     "vLLM's switch. Here experts are placed once, at start, by --expert-placement, and not moved while "
     "running; their load is always counted (/metrics, --record-expert-load)."},
    {"eplb-config", "", kJson, kDo, "ParallelConfig", "",
     "JSON of vLLM: num_redundant_experts, as --num-redundant-experts; the keys that say how experts are "
     "moved "
     "while running have no effect."},
    {"enable-sequence-parallel", "", kBool, kDo, "penstock", "false",
     "With --tensor-parallel-size: between layers each rank has its share of the tokens only, in steps that "
     "are large enough for that to pay. Also read from VLLM_ASCEND_ENABLE_FLASHCOMM1 and "
     "--additional-config.enable_flashcomm1."},
    {"sequence-parallel-min-tokens", "", kSize, kDo, "penstock", "",
     "Tokens of a step that are enough for that. Unset: measured at start.", "", 1,
     std::numeric_limits<int32_t>::max()},
    {"synchronous-sends", "", kBool, kDo, "penstock", "false",
     "Between processes, a stage waits until its hidden states are sent before it goes on: only to measure "
     "what "
     "sending them meanwhile saves."},
    {"allow-oversubscription", "", kBool, kDo, "penstock", "false",
     "Start with more ranks than cores: for tests, since ranks then wait for each other's cores."},
    {"pp-layer-partition", "", kString, kDo, "penstock", "",
     "Layers of each stage: 16,14. Unset: as even as possible. auto: balanced by what layers cost, measured "
     "or counted. Also read from VLLM_PP_LAYER_PARTITION."},
    {"threads-per-rank", "", kInt, kDo, "penstock", "",
     "Threads of each rank. Unset: OMP_NUM_THREADS, else this machine's cores shared evenly among ranks.", "",
     1, 4096},
    {"kernel-isa", "", kString, kDo, "penstock", "auto",
     "Kernels: auto (the best that this processor can run), ref (plain loops, slow), or a name: generic, "
     "avx2, avx512, avx512_vnni, avx512_bf16, …"},
    {"packed-cache", "", kString, kDo, "penstock", "",
     "Directory for weights as they are packed for this processor: written by the first start with a model, "
     "mapped by the next ones, which are then limited by the page cache. Files of other checkpoints, builds "
     "or "
     "processors are not used."},
    {"trace-file", "--trace", kString, kDo, "penstock", "",
     "Write a timeline of every step on every stage to this file (Chrome trace JSON; ui.perfetto.dev opens "
     "it)."},
    {"block-size", "", kInt, kDo, "CacheConfig", "64",
     "Tokens in one block of the KV cache: a multiple of 16.", "", 16, 1024},
    {"kv-cache-dtype", "", kString, kDo, "CacheConfig", "auto",
     "Type of keys and values in the KV cache. auto: as --dtype. int8 (also int8_per_token_head): bytes with "
     "a "
     "scale for each token and head: half the memory, and attention multiplies bytes where the processor has "
     "AVX-512 VNNI and BF16.",
     "auto|bfloat16|float32|int8|int8_per_token_head"},
    {"gpu-memory-utilization", "--device-memory-utilization", kFloat, kDo, "CacheConfig", "0.9",
     "Share of the memory that is free at start which weights, activations and KV cache may take together. "
     "On a CPU: of RAM.",
     "", 0, 1},
    {"kv-cache-memory-bytes", "", kSize, kDo, "CacheConfig", "",
     "Bytes of the KV cache over all stages (8g, 8G); replaces what --gpu-memory-utilization gives.", "", 1},
    {"num-gpu-blocks-override", "", kInt, kDo, "CacheConfig", "", "Number of KV blocks; replaces both.", "",
     1, std::numeric_limits<int32_t>::max()},
    {"enable-prefix-caching", "", kBool, kDo, "CacheConfig", "true",
     "Keep the KV blocks of finished prompts, and reuse those of equal beginnings. (bench latency: off.)"},
    {"max-num-batched-tokens", "", kSize, kDo, "SchedulerConfig", "2048",
     "Most tokens in one step: the size of a prompt's chunks.", "", 1, 1 << 24},
    {"max-num-seqs", "", kInt, kDo, "SchedulerConfig", "64", "Most sequences that run at the same time.", "",
     1, 1 << 16},
    {"max-num-queued-reqs", "", kInt, kDo, "SchedulerConfig", "",
     "Refuse requests (HTTP 503) while this many wait. Unset: no limit.", "", 0,
     std::numeric_limits<int32_t>::max()},
    {"max-num-queued-tokens", "", kSize, kDo, "SchedulerConfig", "",
     "Refuse requests (HTTP 503) while prompts of this many tokens wait. Unset: no limit.", "", 0},
    {"long-prefill-token-threshold", "", kSize, kDo, "SchedulerConfig", "0",
     "Cut chunks of one prompt to this many tokens, so that others fit beside it. 0: no such cut.", "", 0,
     std::numeric_limits<int32_t>::max()},
    {"scheduling-policy", "", kString, kDo, "SchedulerConfig", "srpt",
     "Whose prompt is computed first: srpt (the one with the least predicted work left; waiting counts, so "
     "that none waits for ever), fcfs (first come, first served), or priority (the request's \"priority\", "
     "lower first).",
     "fcfs|priority|srpt"},
    {"chunk-policy", "", kString, kDo, "penstock", "optimal",
     "How prompts are cut into chunks of at most --max-num-batched-tokens: optimal (soonest done, by the "
     "measured speed of every stage and by what waits), equal-latency (vLLM-Ascend's rule), sglang "
     "(SGLang's), static (always the most). `bench latency` compares several, joined by commas, or all."},
    {"equal-latency-release", "", kBool, kDo, "penstock", "false",
     "equal-latency as in vLLM-Ascend v0.20.2rc1, where that differs from its main branch."},
    {"max-step-ms", "", kFloat, kDo, "penstock", "",
     "Most milliseconds that a step may take on any stage, as predicted; chunks are cut to it. Unset: no "
     "limit.",
     "", 0},
    {"calibration", "", kString, kDo, "penstock", "auto",
     "Measure the pipeline at start: auto (where the chunk policy needs it and no saved measurement fits), "
     "always, off (saved measurements count, else it learns from the steps that are served).",
     "auto|always|off"},
    {"calibration-seconds", "", kFloat, kDo, "penstock", "12", "About how long that may take.", "", 0.1,
     86400},
    {"cost-model", "", kString, kDo, "penstock", "",
     "File of the measurement, read at start and written after measuring. Unset: one for each configuration, "
     "in $XDG_CACHE_HOME/penstock or ~/.cache/penstock."},
    {"additional-config", "", kJson, kDo, "VllmConfig", "",
     "JSON of vLLM-Ascend; known: scheduler_config with profiling_chunk_config (enabled, smooth_factor, "
     "min_chunk, need_timing, max_fit_chunk), also outside of it; enable_flashcomm1; eplb_config "
     "(expert_map_path, expert_map_record_path, num_redundant_experts)."},
    {"log-level", "", kString, kDo, "LoggingConfig", "",
     "debug, info, warning or error. Unset: VLLM_LOGGING_LEVEL, else info.",
     "debug|info|warning|error|critical|trace"},
    {"config", "", kString, kDo, "penstock", "",
     "YAML file of flags, \"max-num-seqs: 32\" line by line. Flags on the command line win."},
};

constexpr FlagSpec kServerFlags[] = {
    {"served-model-name", "", kList, kDo, "ModelConfig", "",
     "Names under which clients ask for the model; the first is the one that answers carry. Unset: the model "
     "as given."},
    {"host", "", kString, kDo, "Frontend", "", "Address to listen on. Unset: all of them."},
    {"port", "", kInt, kDo, "Frontend", "8000", "Port to listen on. 0: any free one (the log says which).",
     "", 0, 65535},
    {"api-key", "", kList, kDo, "Frontend", "",
     "Keys, one of which a client must send (Authorization: Bearer KEY). Also read from VLLM_API_KEY."},
    {"allowed-origins", "", kList, kDo, "Frontend", "",
     "Web origins that browsers may call from: '[\"*\"]' for all."},
    {"allowed-methods", "", kList, kDo, "Frontend", "[\"*\"]", "HTTP methods that those origins may use."},
    {"allowed-headers", "", kList, kDo, "Frontend", "[\"*\"]", "HTTP headers that those origins may send."},
    {"allow-credentials", "", kBool, kDo, "Frontend", "false", "Those origins may send cookies and keys."},
    {"chat-template", "", kString, kDo, "Frontend", "",
     "Chat template (Jinja): a file, or the text itself on one line. Unset: the model's own."},
    {"default-chat-template-kwargs", "", kJson, kDo, "Frontend", "",
     "JSON given to the chat template of every request: {\"enable_thinking\": false}."},
    {"enable-prompt-tokens-details", "", kBool, kDo, "Frontend", "false",
     "Report in \"usage\" how many prompt tokens came from the prefix cache."},
    {"enable-tokenizer-info-endpoint", "", kBool, kDo, "Frontend", "false",
     "Serve GET /tokenizer_info (it shows the chat template)."},
    {"enable-force-include-usage", "", kBool, kDo, "Frontend", "false",
     "Report usage on every stream, asked for or not."},
    {"enable-per-request-metrics", "", kBool, kDo, "Frontend", "false",
     "Report the times of a request in its answer."},
    {"disable-uvicorn-access-log", "", kBool, kDo, "Frontend", "false",
     "No line in the log for each request."},
    {"disable-access-log-for-endpoints", "", kString, kDo, "Frontend", "",
     "Paths of which no request is logged: /health,/metrics. Unset: /health, /ready, /ping and /metrics."},
    {"enable-request-id-headers", "", kBool, kDo, "Frontend", "false", "Answer with an X-Request-Id header."},
    {"sse-keep-alive-interval", "", kInt, kDo, "Frontend", "15",
     "Seconds without output after which a stream gets a comment line, so that proxies keep it open. 0: "
     "never.",
     "", 0, 86400},
    {"shutdown-timeout", "", kInt, kDo, "penstock", "30",
     "Seconds that running requests have to end after the first SIGTERM or Ctrl-C; a second signal ends at "
     "once. 0: end them at once.",
     "", 0, 86400},
    {"uvicorn-log-level", "", kString, kDo, "Frontend", "", "The same as --log-level, which wins.",
     "debug|info|warning|error|critical|trace"},
    {"disable-log-stats", "", kBool, kDo, "LoggingConfig", "false",
     "No line of statistics every ten seconds (VLLM_LOG_STATS_INTERVAL)."},
};

constexpr FlagSpec kCompleteFlags[] = {
    {"prompt", "-p", kString, kDo, "complete", "", "The text to go on from; - reads standard input."},
    {"prompt-file", "-f", kString, kDo, "complete", "", "A file with the text to go on from."},
    {"chat", "", kBool, kDo, "complete", "false",
     "The text is a user's message: put it through the model's chat template."},
    {"system", "", kString, kDo, "complete", "", "With --chat: a system message before it."},
    {"max-tokens", "", kSize, kDo, "complete", "128", "Most tokens to generate.", "", 1,
     std::numeric_limits<int32_t>::max()},
    {"temperature", "", kFloat, kDo, "complete", "0", "0 takes the most likely token each time.", "", 0, 100},
    {"top-p", "", kFloat, kDo, "complete", "1",
     "Keep the likeliest tokens that together have this probability.", "", 0, 1},
    {"top-k", "", kInt, kDo, "complete", "0", "Keep the k likeliest tokens; 0: all.", "", 0,
     std::numeric_limits<int32_t>::max()},
    {"ignore-eos", "", kBool, kDo, "complete", "false", "Go on past the end-of-sequence token."},
    {"stream", "", kBool, kDo, "complete", "true",
     "Print text as it comes; --no-stream prints it at the end."},
    {"json", "", kBool, kDo, "complete", "false",
     "Print one JSON object (text, tokens, times) instead of text."},
    {"chat-template", "", kString, kDo, "complete", "",
     "Chat template (Jinja): a file, or the text itself on one line. Unset: the model's own."},
    {"default-chat-template-kwargs", "", kJson, kDo, "complete", "",
     "JSON given to the chat template: {\"enable_thinking\": false}."},
};

constexpr FlagSpec kBenchLatencyFlags[] = {
    {"input-len", "", kSize, kDo, "bench latency", "32", "Tokens of each prompt (random ids).", "", 1,
     std::numeric_limits<int32_t>::max()},
    {"output-len", "", kSize, kDo, "bench latency", "128", "Tokens to generate for each.", "", 1,
     std::numeric_limits<int32_t>::max()},
    {"batch-size", "", kInt, kDo, "bench latency", "8", "Requests sent at once.", "", 1, 1 << 16},
    {"num-iters-warmup", "", kInt, kDo, "bench latency", "10", "Iterations before the measured ones.", "", 0,
     1 << 20},
    {"num-iters", "", kInt, kDo, "bench latency", "30", "Measured iterations.", "", 1, 1 << 20},
    {"json", "", kBool, kDo, "bench latency", "false", "Print one JSON object instead of lines of text."},
    {"output-json", "", kString, kDo, "bench latency", "", "Also write the JSON to this file."},
    {"disable-detokenize", "", kBool, kDo, "bench latency", "false", "Leave text out of the measurement."},
    {"profile", "", kBool, kDo, "bench latency", "false",
     "Also report, for each stage, which operations took the time, and their rates beside what this machine "
     "could do at most. Costs well under a thousandth of a prefill."},
};

constexpr FlagSpec kCalibrateFlags[] = {
    {"input-len", "", kSize, kDo, "calibrate", "",
     "Tokens of each request (random ids). Unset: --max-model-len, less one.", "", 1,
     std::numeric_limits<int32_t>::max()},
    {"num-requests", "", kInt, kDo, "calibrate", "5", "Requests after the grid.", "", 0, 1 << 20},
    {"json", "", kBool, kDo, "calibrate", "false", "Print one JSON object instead of lines of text."},
};

}  // namespace

std::span<const FlagSpec> ImplementedFlags() { return kImplementedFlags; }
std::span<const FlagSpec> ServerFlags() { return kServerFlags; }
std::span<const FlagSpec> CompleteFlags() { return kCompleteFlags; }
std::span<const FlagSpec> BenchLatencyFlags() { return kBenchLatencyFlags; }
std::span<const FlagSpec> CalibrateFlags() { return kCalibrateFlags; }

FlagTable ServeTable() {
  return {ServerFlags(),           ImplementedFlags(),       NoOpFlags(),
          UnsupportedModelFlags(), UnsupportedSystemFlags(), UnsupportedFrontendFlags()};
}

FlagTable CompleteTable() {
  return {CompleteFlags(), ImplementedFlags(), NoOpFlags(), UnsupportedModelFlags(),
          UnsupportedSystemFlags()};
}

FlagTable BenchLatencyTable() {
  return {BenchLatencyFlags(), ImplementedFlags(), NoOpFlags(), UnsupportedModelFlags(),
          UnsupportedSystemFlags()};
}

FlagTable CalibrateTable() {
  return {CalibrateFlags(), ImplementedFlags(), NoOpFlags(), UnsupportedModelFlags(),
          UnsupportedSystemFlags()};
}

}  // namespace penstock
