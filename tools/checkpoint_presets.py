# SPDX-License-Identifier: Apache-2.0
"""What make_checkpoint.py can make: for each architecture the config.json as published models have it, and presets.

A preset is a base (an architecture, or another preset) and the keys of config.json that differ. A key set to ABSENT
is left out of the file.
"""

from typing import Any

ABSENT = object()

_COMMON = {
    "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
    "torch_dtype": "bfloat16", "use_cache": True,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {  # as Llama-3.2-1B
        **_COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False, "pretraining_tp": 1,
        "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 500000.0, "max_position_embeddings": 131072,
        "tie_word_embeddings": False, "transformers_version": "4.45.0.dev0",
    },
    "qwen3": {  # as Qwen3-0.6B
        **_COMMON, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "max_position_embeddings": 40960,
        "max_window_layers": 28, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "use_sliding_window": False, "tie_word_embeddings": True,
        "transformers_version": "4.51.0",
    },
    "qwen3_moe": {  # as Qwen3-30B-A3B
        **_COMMON, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "decoder_sparse_step": 1,
        "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [], "norm_topk_prob": True,
        "output_router_logits": False, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "sliding_window": None, "use_sliding_window": False,
        "tie_word_embeddings": False, "transformers_version": "4.51.0",
    },
    "deepseek_v3": {  # as DeepSeek-V3.1
        **_COMMON, "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "ep_size": 1,
        "first_k_dense_replace": 1, "max_position_embeddings": 163840, "moe_layer_freq": 1, "n_shared_experts": 1,
        "norm_topk_prob": True, "num_nextn_predict_layers": 0, "rms_norm_eps": 1e-6,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                         "original_max_position_embeddings": 4096, "type": "yarn"},
        "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": False,
        "topk_method": "noaux_tc", "transformers_version": "4.44.2",
    },
}

FP8_QUANTIZATION = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                    "weight_block_size": [128, 128]}

# preset -> (architecture or preset that it is based on, keys of config.json)
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # For tests. Sizes that a wrong transposition, order or count cannot survive; under 2 MB each.
    "tiny-llama": ("llama", {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
    }),
    "tiny-llama3-rope": ("tiny-llama", {
        "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 128, "rope_type": "llama3"},
        "tie_word_embeddings": True,
    }),
    "tiny-llama-bias": ("tiny-llama", {
        "attention_bias": True, "head_dim": ABSENT, "rope_theta": 10000.0,
        "rope_scaling": {"type": "linear", "factor": 4.0},
    }),
    "tiny-qwen3": ("qwen3", {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
    }),
    "tiny-qwen3-yarn": ("tiny-qwen3", {
        "tie_word_embeddings": False, "rope_theta": 10000.0, "max_position_embeddings": 512,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    }),
    "tiny-qwen3-moe": ("qwen3_moe", {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
        "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 32,
    }),
    "tiny-qwen3-moe-mixed": ("tiny-qwen3-moe", {  # sparse layers: 1 and 5
        "num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3], "norm_topk_prob": False, "attention_bias": True,
    }),
    "tiny-deepseek-v3": ("deepseek_v3", {
        "vocab_size": 512, "hidden_size": 160, "intermediate_size": 192, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 32,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 48, "max_position_embeddings": 5120,
        "n_routed_experts": 12, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2,
        "moe_intermediate_size": 32,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                         "original_max_position_embeddings": 128, "type": "yarn"},
    }),
    "tiny-deepseek-v3-plain": ("tiny-deepseek-v3", {  # no q rank, no groups, two shared experts, unequal mscales
        "q_lora_rank": None, "n_group": 1, "topk_group": 1, "n_shared_experts": 2, "first_k_dense_replace": 2,
        "norm_topk_prob": False, "routed_scaling_factor": 1.0, "attention_bias": True,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.707,
                         "original_max_position_embeddings": 128, "type": "yarn"},
    }),
    # For benchmarks.
    "qwen3-0.6b": ("qwen3", {
        "vocab_size": 32768, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    }),
    "qwen3-moe-small": ("qwen3_moe", {
        "vocab_size": 32768, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 8,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 512,
    }),
    "deepseek-v3-small": ("deepseek_v3", {
        "vocab_size": 32768, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 8,
        "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": 384, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 32, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "moe_intermediate_size": 512,
    }),
}


def resolve(name: str) -> dict[str, Any]:
    """The config.json of a preset, its base's keys first. KeyError for an unknown preset."""
    base, keys = PRESETS[name]
    config = dict(ARCHITECTURES[base]) if base in ARCHITECTURES else resolve(base)
    config.update(keys)
    return {key: value for key, value in config.items() if value is not ABSENT}
