# SPDX-License-Identifier: Apache-2.0
"""The tensors of each architecture's checkpoint: name, shape, and how its random numbers are distributed.

The distributions keep activations near 1 through any number of layers and spread the logits, so that a greedy choice is
not a near tie; and no tensor is neutral (norms are not 1, biases not 0), so that an ignored or swapped one shows.
"""

import dataclasses
import math
from typing import Any, Iterator

# Standard deviation of y for x of standard deviation 1.
_LINEAR_GAIN = 1.0
_QUERY_GAIN = 1.5   # attention that prefers some keys
_ROUTER_GAIN = 2.0  # routers that are sure of their choice
_EXPERT_GAIN = 0.5  # small: where rounding changes a close choice of experts, the logits shall change little
_LOGIT_SPREAD = 2.5


@dataclasses.dataclass(frozen=True)
class Init:
    """Numbers mean + std * normal. kind: "linear" (a matrix that FP8 checkpoints quantise), "plain" (stored in the
    checkpoint's dtype, bf16 in FP8 ones), "float32"."""

    name: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0
    kind: str = "plain"


def _linear(name: str, rows: int, columns: int, gain: float = _LINEAR_GAIN) -> Init:
    return Init(f"{name}.weight", (rows, columns), gain / math.sqrt(columns), kind="linear")


def _norm(name: str, size: int, mean: float = 1.0) -> Init:
    return Init(f"{name}.weight", (size,), 0.25, mean)


def _bias(name: str, size: int) -> Init:
    return Init(f"{name}.bias", (size,), 0.3)


def head_dim(config: dict[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _grouped_query_attention(prefix: str, config: dict[str, Any], qk_norm: bool) -> Iterator[Init]:
    hidden, size = config["hidden_size"], head_dim(config)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    for name, rows, columns, gain in (
            ("q_proj", heads * size, hidden, _QUERY_GAIN), ("k_proj", kv_heads * size, hidden, 1.0),
            ("v_proj", kv_heads * size, hidden, 1.0), ("o_proj", hidden, heads * size, 1.0)):
        yield _linear(f"{prefix}.{name}", rows, columns, gain)
        if config["attention_bias"]:
            yield _bias(f"{prefix}.{name}", rows)
    if qk_norm:
        yield _norm(f"{prefix}.q_norm", size, _QUERY_GAIN)
        yield _norm(f"{prefix}.k_norm", size)


def _latent_attention(prefix: str, config: dict[str, Any]) -> Iterator[Init]:
    hidden, heads, bias = config["hidden_size"], config["num_attention_heads"], config["attention_bias"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    if q_rank is None:
        yield _linear(f"{prefix}.q_proj", heads * (nope + rope), hidden)
    else:
        yield _linear(f"{prefix}.q_a_proj", q_rank, hidden)
        if bias:
            yield _bias(f"{prefix}.q_a_proj", q_rank)
        yield _norm(f"{prefix}.q_a_layernorm", q_rank)
        yield _linear(f"{prefix}.q_b_proj", heads * (nope + rope), q_rank)
    yield _linear(f"{prefix}.kv_a_proj_with_mqa", kv_rank + rope, hidden)
    if bias:
        yield _bias(f"{prefix}.kv_a_proj_with_mqa", kv_rank + rope)
    yield _norm(f"{prefix}.kv_a_layernorm", kv_rank)
    yield _linear(f"{prefix}.kv_b_proj", heads * (nope + value), kv_rank)
    yield _linear(f"{prefix}.o_proj", hidden, heads * value)
    if bias:
        yield _bias(f"{prefix}.o_proj", hidden)


def _mlp(prefix: str, hidden: int, inner: int, gain: float = _LINEAR_GAIN, bias: bool = False) -> Iterator[Init]:
    # silu(gate) * up has about 0.6 of its inputs' spread
    for name, rows, columns, gain in (("gate_proj", inner, hidden, 1.0), ("up_proj", inner, hidden, 1.0),
                                      ("down_proj", hidden, inner, gain / 0.6)):
        yield _linear(f"{prefix}.{name}", rows, columns, gain)
        if bias:
            yield _bias(f"{prefix}.{name}", rows)


def _routed_weight(config: dict[str, Any]) -> float:
    """About what the weights of a token's experts add up to."""
    typical_sigmoid = 0.7
    unnormalised = config["num_experts_per_tok"] * typical_sigmoid if config.get("scoring_func") == "sigmoid" else 1.0
    return config.get("routed_scaling_factor", 1.0) * (1.0 if config["norm_topk_prob"] else unnormalised)


def _experts(prefix: str, config: dict[str, Any], count: int) -> Iterator[Init]:
    hidden, gain = config["hidden_size"], _EXPERT_GAIN / _routed_weight(config)
    yield Init(f"{prefix}.gate.weight", (count, hidden), _ROUTER_GAIN / math.sqrt(hidden))
    for expert in range(count):
        yield from _mlp(f"{prefix}.experts.{expert}", hidden, config["moe_intermediate_size"], gain)


def _qwen3_moe_mlp(prefix: str, config: dict[str, Any], layer: int) -> Iterator[Init]:
    if layer in config["mlp_only_layers"] or (layer + 1) % config["decoder_sparse_step"]:
        yield from _mlp(prefix, config["hidden_size"], config["intermediate_size"])
    else:
        yield from _experts(prefix, config, config["num_experts"])


def _deepseek_v3_mlp(prefix: str, config: dict[str, Any], layer: int) -> Iterator[Init]:
    if layer < config["first_k_dense_replace"]:
        yield from _mlp(prefix, config["hidden_size"], config["intermediate_size"])
        return
    count = config["n_routed_experts"]
    yield from _experts(prefix, config, count)
    # Enough to move the choice of experts; positive, so that masking groups with 0 or with -inf is the same.
    yield Init(f"{prefix}.gate.e_score_correction_bias", (count,), 0.1, 0.5, kind="float32")
    yield from _mlp(f"{prefix}.shared_experts", config["hidden_size"],
                    config["moe_intermediate_size"] * config["n_shared_experts"])


def _layer(prefix: str, config: dict[str, Any], layer: int) -> Iterator[Init]:
    kind, hidden = config["model_type"], config["hidden_size"]
    yield _norm(f"{prefix}.input_layernorm", hidden)
    if kind == "deepseek_v3":
        yield from _latent_attention(f"{prefix}.self_attn", config)
    else:
        yield from _grouped_query_attention(f"{prefix}.self_attn", config, qk_norm=kind != "llama")
    yield _norm(f"{prefix}.post_attention_layernorm", hidden)
    if kind == "deepseek_v3":
        yield from _deepseek_v3_mlp(f"{prefix}.mlp", config, layer)
    elif kind == "qwen3_moe":
        yield from _qwen3_moe_mlp(f"{prefix}.mlp", config, layer)
    else:
        yield from _mlp(f"{prefix}.mlp", hidden, config["intermediate_size"], bias=config.get("mlp_bias", False))


def _next_token_layer(prefix: str, config: dict[str, Any], layer: int) -> Iterator[Init]:
    """DeepSeek's multi-token-prediction layer. It stands behind the last layer and no answer depends on it."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    yield from _layer(prefix, config, layer)
    yield Init(f"{prefix}.embed_tokens.weight", (vocab, hidden), 1.0)
    yield _norm(f"{prefix}.enorm", hidden)
    yield _norm(f"{prefix}.hnorm", hidden)
    yield Init(f"{prefix}.eh_proj.weight", (hidden, 2 * hidden), 1 / math.sqrt(2 * hidden))
    yield _norm(f"{prefix}.shared_head.norm", hidden)
    yield Init(f"{prefix}.shared_head.head.weight", (vocab, hidden), _LOGIT_SPREAD / math.sqrt(hidden))


def norm_biases(inits: list[Init], num_layers: int) -> list[Init]:
    """The biases that an anti-outlier method leaves beside the norms (not those of multi-token prediction)."""
    names = [(init.name.removesuffix(".weight"), init.shape) for init in inits if init.name.endswith("norm.weight")]
    return [Init(f"{name}.bias", shape, 0.2) for name, shape in names
            if not any(name.startswith(f"model.layers.{layer}.") for layer in (num_layers, num_layers + 1))]


def tensors(config: dict[str, Any]) -> Iterator[Init]:
    """All tensors of the checkpoint that `config` (config.json) describes."""
    hidden, vocab, num_layers = config["hidden_size"], config["vocab_size"], config["num_hidden_layers"]
    tied = config["tie_word_embeddings"]
    yield Init("model.embed_tokens.weight", (vocab, hidden), _LOGIT_SPREAD / math.sqrt(hidden) if tied else 1.0)
    for layer in range(num_layers):
        yield from _layer(f"model.layers.{layer}", config, layer)
    for layer in range(num_layers, num_layers + config.get("num_nextn_predict_layers", 0)):
        yield from _next_token_layer(f"model.layers.{layer}", config, layer)
    yield _norm("model.norm", hidden)
    if not tied:
        yield Init("lm_head.weight", (vocab, hidden), _LOGIT_SPREAD / math.sqrt(hidden))
