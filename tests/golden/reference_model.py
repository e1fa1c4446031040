# SPDX-License-Identifier: Apache-2.0
"""Qwen3, Qwen3-MoE and DeepSeek-V3 with float or W8A8 weights, in numpy: the mathematics of README.md and of docs/quantization.md,
as plainly as it can be written. 8-bit products are exact integers; all else is in the `dtype` of the model.
"""

import glob
import json
import math
import os
import sys
from typing import Any, Callable

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import safetensors_io  # noqa: E402

INNER_EPS = 1e-6  # of DeepSeek's q_a and kv_a norms


def read_json(*parts: str) -> dict[str, Any]:
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return json.load(file)


def to_bf16(x: np.ndarray) -> np.ndarray:
    return safetensors_io.from_bf16(safetensors_io.to_bf16(x.astype(np.float32))).astype(x.dtype)


class Model:
    """logits(ids) of a checkpoint directory. `rounding` is applied to the result of every operation."""

    def __init__(self, directory: str, dtype: type = np.float64, rounding: Callable[[np.ndarray], np.ndarray] | None = None):
        self.config = read_json(directory, "config.json")
        self._dtype = dtype
        self._round = rounding or (lambda x: x)
        self.rounding_margin = math.inf  # how near to a tie any number was that became an 8-bit integer
        self._tensors: dict[str, tuple[safetensors_io.TensorInfo, np.ndarray]] = {}
        for path in glob.glob(os.path.join(directory, "*.safetensors")):
            self._tensors.update(safetensors_io.read_file(path))
        description = os.path.join(directory, "quant_model_description.json")
        self._types = read_json(description) if os.path.exists(description) else None

    # --- weights

    def _has(self, name: str) -> bool:
        return name in self._tensors

    def _float(self, name: str) -> np.ndarray:
        return safetensors_io.to_float32(*self._tensors[name]).astype(self._dtype)

    def _type(self, module: str) -> str:
        if self._types is not None:
            return self._types[f"{module}.weight"]
        return "W8A8_DYNAMIC" if self._has(f"{module}.weight_scale") else "FLOAT"

    # --- operations

    def _linear(self, x: np.ndarray, module: str) -> np.ndarray:
        kind = self._type(module)
        weight = self._float(f"{module}.weight")  # the integers, where it is 8-bit
        if kind == "W8A8":
            scale, offset = self._float(f"{module}.input_scale"), self._float(f"{module}.input_offset")
            quantised = np.clip(self._rint(x / scale + offset), -128, 127)
            bits = self._tensors[f"{module}.deq_scale"][1]
            deq_scale = bits.astype(np.uint32).view(np.float32) if bits.dtype == np.int64 else bits
            products = self._exact(quantised, weight) + self._tensors[f"{module}.quant_bias"][1]
            return self._round(products.astype(self._dtype) * deq_scale.astype(self._dtype))
        if kind in ("W8A8_DYNAMIC", "W8A8_MIX"):
            scale = np.abs(x).max(axis=-1, keepdims=True) / self._dtype(127)
            quantised = self._rint(x / np.where(scale == 0, 1, scale))
            weight_scale = self._float(f"{module}.weight_scale").reshape(-1)
            y = self._exact(quantised, weight).astype(self._dtype) * scale * weight_scale
        else:
            assert kind == "FLOAT", (module, kind)
            y = x @ weight.T
        if self._has(f"{module}.bias"):
            y = y + self._float(f"{module}.bias")
        return self._round(y)

    def _rint(self, x: np.ndarray) -> np.ndarray:
        self.rounding_margin = min(self.rounding_margin, float(np.abs(x - np.floor(x) - 0.5).min()))
        return np.rint(x)

    @staticmethod
    def _exact(quantised: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (quantised.astype(np.float64) @ weight.astype(np.float64).T).astype(np.int64)

    def _norm(self, x: np.ndarray, module: str, eps: float | None = None) -> np.ndarray:
        eps = self.config["rms_norm_eps"] if eps is None else eps
        y = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self._dtype(eps)) * self._float(f"{module}.weight")
        if self._has(f"{module}.bias"):
            y = y + self._float(f"{module}.bias")
        return self._round(y)

    def _rope(self, x: np.ndarray, angles: np.ndarray, interleaved: bool) -> np.ndarray:
        """x: [tokens, heads, dim]; angles: [tokens, dim / 2]."""
        cos, sin = np.cos(angles)[:, None].astype(self._dtype), np.sin(angles)[:, None].astype(self._dtype)
        half = x.shape[-1] // 2
        a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
        return self._round(np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1) * self._rope_factor())

    def _yarn(self) -> dict[str, Any] | None:
        scaling = self.config.get("rope_scaling")
        return scaling if scaling and (scaling.get("type") or scaling.get("rope_type")) == "yarn" else None

    @staticmethod
    def _mscale(factor: float, a: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * a * math.log(factor) + 1

    def _rope_factor(self) -> float:
        yarn = self._yarn()
        if yarn is None:
            return self._dtype(1)
        return self._dtype(self._mscale(yarn["factor"], yarn["mscale"]) / self._mscale(yarn["factor"], yarn["mscale_all_dim"]))

    def _angles(self, num_tokens: int, dim: int) -> np.ndarray:
        theta = self.config["rope_theta"]
        frequencies = theta ** (-np.arange(0, dim, 2) / dim)
        yarn = self._yarn()
        if yarn is not None:
            def turns(n: float) -> float:
                return dim * math.log(yarn["original_max_position_embeddings"] / (2 * math.pi * n)) / (2 * math.log(theta))
            low, high = max(math.floor(turns(yarn["beta_fast"])), 0), min(math.ceil(turns(yarn["beta_slow"])), dim - 1)
            ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
            frequencies = frequencies / yarn["factor"] * ramp + frequencies * (1 - ramp)
        return np.arange(num_tokens)[:, None] * frequencies

    def _attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
        """q, k: [tokens, heads, d], v: [tokens, heads, e] -> [tokens, heads * e]."""
        scores = np.einsum("qhd,khd->hqk", q, k) * self._dtype(scale)
        scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self._round(np.einsum("hqk,khe->qhe", weights, v).reshape(len(q), -1))

    # --- blocks

    def _grouped_query_attention(self, x: np.ndarray, prefix: str) -> np.ndarray:
        config, tokens = self.config, len(x)
        heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        dim = config.get("head_dim") or config["hidden_size"] // heads
        q = self._linear(x, f"{prefix}.q_proj").reshape(tokens, heads, dim)
        k = self._linear(x, f"{prefix}.k_proj").reshape(tokens, kv_heads, dim)
        v = self._linear(x, f"{prefix}.v_proj").reshape(tokens, kv_heads, dim)
        q, k = self._norm(q, f"{prefix}.q_norm"), self._norm(k, f"{prefix}.k_norm")
        angles = self._angles(tokens, dim)
        q, k = self._rope(q, angles, False), self._rope(k, angles, False)
        group = heads // kv_heads
        out = self._attend(q, k.repeat(group, axis=1), v.repeat(group, axis=1), dim**-0.5)
        return self._linear(out, f"{prefix}.o_proj")

    def _latent_attention(self, x: np.ndarray, prefix: str) -> np.ndarray:
        config, tokens, heads = self.config, len(x), self.config["num_attention_heads"]
        nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
        rank = config["kv_lora_rank"]
        if config["q_lora_rank"]:
            q = self._norm(self._linear(x, f"{prefix}.q_a_proj"), f"{prefix}.q_a_layernorm", INNER_EPS)
            q = self._linear(q, f"{prefix}.q_b_proj")
        else:
            q = self._linear(x, f"{prefix}.q_proj")
        q = q.reshape(tokens, heads, nope + rope)
        kv = self._linear(x, f"{prefix}.kv_a_proj_with_mqa")
        latent = self._norm(kv[:, :rank], f"{prefix}.kv_a_layernorm", INNER_EPS)
        angles = self._angles(tokens, rope)
        q = np.concatenate([q[..., :nope], self._rope(q[..., nope:], angles, True)], axis=-1)
        k_rope = self._rope(kv[:, None, rank:], angles, True)
        kv = (latent @ self._float(f"{prefix}.kv_b_proj.weight").T).reshape(tokens, heads, nope + value)
        k = np.concatenate([kv[..., :nope], np.broadcast_to(k_rope, (tokens, heads, rope))], axis=-1)
        scale = (nope + rope) ** -0.5
        if (yarn := self._yarn()) and yarn.get("mscale_all_dim"):
            scale *= self._mscale(yarn["factor"], yarn["mscale_all_dim"]) ** 2
        return self._linear(self._attend(q, k, kv[..., nope:], scale), f"{prefix}.o_proj")

    def _mlp(self, x: np.ndarray, prefix: str) -> np.ndarray:
        gate, up = self._linear(x, f"{prefix}.gate_proj"), self._linear(x, f"{prefix}.up_proj")
        return self._linear(self._round(gate / (1 + np.exp(-gate)) * up), f"{prefix}.down_proj")

    def _route(self, x: np.ndarray, prefix: str) -> tuple[np.ndarray, np.ndarray]:
        """(experts, weights) [tokens, top_k]."""
        config = self.config
        logits = x @ self._float(f"{prefix}.gate.weight").T
        top_k = config["num_experts_per_tok"]
        if config["model_type"] == "qwen3_moe":
            scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
            scores = choice = scores / scores.sum(axis=-1, keepdims=True)
            factor, tiny = 1.0, 0.0
        else:
            scores = 1 / (1 + np.exp(-logits))
            choice = scores + self._float(f"{prefix}.gate.e_score_correction_bias")
            groups = choice.reshape(len(x), config["n_group"], -1)
            best_two = np.sort(groups, axis=-1)[..., -2:].sum(axis=-1)
            kept = np.argsort(-best_two, axis=-1, kind="stable")[:, : config["topk_group"]]
            allowed = np.zeros(best_two.shape, dtype=bool)
            np.put_along_axis(allowed, kept, True, axis=-1)
            choice = np.where(allowed[..., None], groups, -np.inf).reshape(choice.shape)
            factor, tiny = config["routed_scaling_factor"], 1e-20
        experts = np.argsort(-choice, axis=-1, kind="stable")[:, :top_k]
        weights = np.take_along_axis(scores, experts, axis=-1)
        if config["norm_topk_prob"]:
            weights = weights / (weights.sum(axis=-1, keepdims=True) + self._dtype(tiny))
        return experts, weights * self._dtype(factor)

    def _mixture(self, x: np.ndarray, prefix: str) -> np.ndarray:
        experts, weights = self._route(x, prefix)
        y = np.zeros_like(x)
        for expert in range(experts.max() + 1):
            rows, slots = np.nonzero(experts == expert)
            if len(rows):
                y[rows] += self._mlp(x[rows], f"{prefix}.experts.{expert}") * weights[rows, slots][:, None]
        if self._has(f"{prefix}.shared_experts.up_proj.weight"):
            y = y + self._mlp(x, f"{prefix}.shared_experts")
        return y

    def logits(self, ids: list[int]) -> np.ndarray:
        """[tokens, vocab]: row i is what follows ids[: i + 1]."""
        attention = self._latent_attention if self.config["model_type"] == "deepseek_v3" else self._grouped_query_attention
        embedding = self._float("model.embed_tokens.weight")
        hidden = embedding[ids]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"
            hidden = self._round(hidden + attention(self._norm(hidden, f"{prefix}.input_layernorm"), f"{prefix}.self_attn"))
            x = self._norm(hidden, f"{prefix}.post_attention_layernorm")
            mlp = self._mixture if self._has(f"{prefix}.mlp.gate.weight") else self._mlp
            hidden = self._round(hidden + mlp(x, f"{prefix}.mlp"))
        hidden = self._norm(hidden, "model.norm")
        return hidden @ (self._float("lm_head.weight") if self._has("lm_head.weight") else embedding).T
