// Flags of vLLM that ask for something that is not here. A value that differs from vLLM's default (or from
// the harmless values listed) fails the start with a line that says so: nothing is ignored in silence.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_spec.h"

namespace penstock {
namespace {

using enum FlagKind;
constexpr FlagClass kNo = FlagClass::kUnsupported;

constexpr FlagSpec kUnsupportedModelFlags[] = {
    {"quantization-config", "", kJson, kNo, "ModelConfig", "", "not implemented yet"},
    {"runner", "", kString, kNo, "ModelConfig", "auto", "only generation is supported", "generate"},
    {"convert", "", kString, kNo, "ModelConfig", "auto", "only generation is supported", "none"},
    {"pooler-config", "", kJson, kNo, "ModelConfig", "", "only generation is supported"},
    {"tokenizer-mode", "", kString, kNo, "ModelConfig", "auto", "only tokenizer.json is read", "hf|slow"},
    {"skip-tokenizer-init", "", kBool, kNo, "ModelConfig", "false", "a tokenizer is needed"},
    {"config-format", "", kString, kNo, "ModelConfig", "auto", "only config.json is read", "hf"},
    {"hf-config-path", "", kString, kNo, "ModelConfig", "", "config.json is read from the model directory"},
    {"hf-overrides", "", kJson, kNo, "ModelConfig", "", "edit config.json instead"},
    {"rope-scaling", "", kJson, kNo, "ModelConfig", "", "edit config.json instead"},
    {"rope-theta", "", kFloat, kNo, "ModelConfig", "", "edit config.json instead"},
    {"model-class-overrides", "", kJson, kNo, "ModelConfig", "", "there are no model classes to replace"},
    {"revision", "", kString, kNo, "ModelConfig", "", "models are read from disk only"},
    {"code-revision", "", kString, kNo, "ModelConfig", "", "models are read from disk only"},
    {"tokenizer-revision", "", kString, kNo, "ModelConfig", "", "models are read from disk only"},
    {"allowed-local-media-path", "", kString, kNo, "ModelConfig", "", "only text is served"},
    {"allowed-media-domains", "", kList, kNo, "ModelConfig", "", "only text is served"},
    {"disable-sliding-window", "", kBool, kNo, "ModelConfig", "false", "sliding windows are not implemented"},
    {"logprobs-mode", "", kString, kNo, "ModelConfig", "raw_logprobs", "only raw_logprobs is implemented"},
    {"logits-processors", "", kList, kNo, "ModelConfig", "", "there are no Python plug-ins"},
    {"io-processor-plugin", "", kString, kNo, "ModelConfig", "", "there are no Python plug-ins"},
    {"enable-return-routed-experts", "", kBool, kNo, "ModelConfig", "false", "not implemented"},
    {"return-sampling-mask", "", kBool, kNo, "ModelConfig", "false", "not implemented"},
    {"enable-trace-replay", "", kBool, kNo, "ModelConfig", "false", "not implemented"},
    {"enable-prompt-embeds", "", kBool, kNo, "ModelConfig", "false",
     "embeddings from clients are not accepted, for safety"},
    {"enable-sleep-mode", "", kBool, kNo, "ModelConfig", "false", "not implemented"},
    {"sleep-mode-backend", "", kString, kNo, "ModelConfig", "cumem", "sleep mode is not implemented"},
    {"sleep-mode-offload-cudagraph", "", kBool, kNo, "ModelConfig", "false", "sleep mode is not implemented"},
    {"sleep-preserve-parameter-names", "", kList, kNo, "ModelConfig", "", "sleep mode is not implemented"},
    {"enable-cumem-allocator", "", kBool, kNo, "ModelConfig", "false", "sleep mode is not implemented"},
    {"enable-nccl-comm-suspend", "", kBool, kNo, "ModelConfig", "false", "sleep mode is not implemented"},
    {"load-format", "", kString, kNo, "LoadConfig", "auto", "only safetensors files are read",
     "safetensors|hf"},
    {"model-loader-extra-config", "", kJson, kNo, "LoadConfig", "", "there are no loader plug-ins"},
    {"enable-mm-embeds", "", kBool, kNo, "MultiModalConfig", "false", "only text is served"},
    {"media-io-kwargs", "", kJson, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-processor-kwargs", "", kJson, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-processor-cache-type", "", kString, kNo, "MultiModalConfig", "lru", "only text is served"},
    {"mm-hasher-algorithm", "", kString, kNo, "MultiModalConfig", "blake3", "only text is served"},
    {"mm-shm-cache-max-object-size-mb", "", kInt, kNo, "MultiModalConfig", "128", "only text is served"},
    {"mm-encoder-only", "", kBool, kNo, "MultiModalConfig", "false", "only text is served"},
    {"mm-encoder-tp-mode", "", kString, kNo, "MultiModalConfig", "weights", "only text is served"},
    {"mm-encoder-attn-backend", "", kString, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-encoder-attn-dtype", "", kString, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-encoder-fp8-scale-path", "", kString, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-encoder-fp8-scale-save-path", "", kString, kNo, "MultiModalConfig", "", "only text is served"},
    {"mm-encoder-fp8-scale-save-margin", "", kFloat, kNo, "MultiModalConfig", "1.5", "only text is served"},
    {"interleave-mm-strings", "", kBool, kNo, "MultiModalConfig", "false", "only text is served"},
    {"video-pruning-rate", "", kFloat, kNo, "MultiModalConfig", "", "only text is served"},
    {"video-pruning-method", "", kString, kNo, "MultiModalConfig", "evs", "only text is served"},
    {"mm-tensor-ipc", "", kString, kNo, "MultiModalConfig", "direct_rpc", "only text is served"},
    {"mm-processor-device", "", kString, kNo, "MultiModalConfig", "auto", "only text is served", "cpu"},
    {"mm-ipc-gpu-memory-gb", "", kFloat, kNo, "MultiModalConfig", "0", "only text is served"},
    {"mm-device-do-normalize", "", kBool, kNo, "MultiModalConfig", "true", "only text is served"},
    {"enable-lora", "", kBool, kNo, "LoRAConfig", "false", "LoRA adapters are not supported"},
    {"max-loras", "", kInt, kNo, "LoRAConfig", "1", "LoRA adapters are not supported"},
    {"max-lora-rank", "", kInt, kNo, "LoRAConfig", "16", "LoRA adapters are not supported"},
    {"lora-dtype", "", kString, kNo, "LoRAConfig", "auto", "LoRA adapters are not supported"},
    {"enable-tower-connector-lora", "", kBool, kNo, "LoRAConfig", "false", "LoRA adapters are not supported"},
    {"max-cpu-loras", "", kInt, kNo, "LoRAConfig", "", "LoRA adapters are not supported"},
    {"fully-sharded-loras", "", kBool, kNo, "LoRAConfig", "false", "LoRA adapters are not supported"},
    {"lora-target-modules", "", kList, kNo, "LoRAConfig", "", "LoRA adapters are not supported"},
    {"default-mm-loras", "", kJson, kNo, "LoRAConfig", "", "LoRA adapters are not supported"},
    {"specialize-active-lora", "", kBool, kNo, "LoRAConfig", "false", "LoRA adapters are not supported"},
    {"enable-mixed-moe-lora-format", "", kBool, kNo, "LoRAConfig", "false",
     "LoRA adapters are not supported"},
    {"enable-moe-shared-loras", "", kBool, kNo, "LoRAConfig", "false", "LoRA adapters are not supported"},
    {"max-lora-cls-labels", "", kInt, kNo, "LoRAConfig", "", "LoRA adapters are not supported"},
    {"lora-modules", "", kList, kNo, "LoRAConfig", "", "LoRA adapters are not supported"},
};

}  // namespace

std::span<const FlagSpec> UnsupportedModelFlags() { return kUnsupportedModelFlags; }

}  // namespace penstock
