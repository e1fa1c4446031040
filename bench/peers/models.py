"""The checkpoints that every engine runs, in the form that each wants, and how much work a token of them is.

SPDX-License-Identifier: Apache-2.0
"""
import json
import math
import pathlib

import install

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {"qwen3": "qwen3-0.6b", "moe": "qwen3-moe-small", "deepseek": "deepseek-v3-small"}
POSITIONS = 65536
LIMIT_S = 1800


def config(path):
    return json.loads((pathlib.Path(path) / "config.json").read_text())


class Models:
    """Makes forms of models when they are asked for, and remembers which could not be made."""

    def __init__(self, work, pythons):
        self._folder = work / "models"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pythons = pythons  # peer -> function that gives its Python
        self._refused = {}

    def form(self, model, layers, kind):
        """Path of one form: bf16, w8a8, gguf-bf16, gguf-q8_0, openvino-bf16, openvino-int8. Refused if there is none."""
        key = (model, layers, kind)
        if key in self._refused:
            raise install.Refused(self._refused[key])
        path = self._folder / f"{model}{f'-{layers}-layers' if layers else ''}-{kind}"
        try:
            self._make(model, layers, kind, path)
        except install.Refused as error:
            self._refused[key] = str(error)
            raise
        return path

    def _make(self, model, layers, kind, path):
        if kind in ("bf16", "w8a8"):  # make_checkpoint.py itself sees whether there is anything to do
            command = [self._pythons["tools"](), ROOT / "tools/make_checkpoint.py", MODELS[model], path,
                       "--max-positions", POSITIONS]
            command += ["--layers", layers] if layers else []
            install.run(command + (["--quantize", "compressed-tensors"] if kind == "w8a8" else []), LIMIT_S)
            return
        if path.exists():
            return
        peer, _, dtype = kind.partition("-")
        source = self.form(model, layers, "bf16")
        if peer == "gguf":
            install.run([self._pythons["tools"](), ROOT / "bench/peers/hf_to_gguf.py", source, path, dtype], LIMIT_S)
        else:
            optimum = pathlib.Path(self._pythons["openvino"]()).with_name("optimum-cli")
            partial = path.with_name(path.name + ".partial")
            install.run([optimum, "export", "openvino", "-m", source, "--task", "text-generation-with-past",
                         *(["--weight-format", "int8"] if dtype == "int8" else []), partial], LIMIT_S)
            partial.rename(path)


def _attention_flops(keys):
    """(linear operations of one layer's attention per token, operations per token and key that it sees)."""
    hidden, heads = keys["hidden_size"], keys["num_attention_heads"]
    if keys["model_type"] == "deepseek_v3":
        nope, rope, value = keys["qk_nope_head_dim"], keys["qk_rope_head_dim"], keys["v_head_dim"]
        q_rank, kv_rank = keys["q_lora_rank"], keys["kv_lora_rank"]
        linear = (hidden * q_rank + q_rank * heads * (nope + rope) + hidden * (kv_rank + rope)
                  + kv_rank * heads * (nope + value) + heads * value * hidden)
        return 2 * linear, 2 * heads * (nope + rope + value)
    size, kv_heads = keys["head_dim"], keys["num_key_value_heads"]
    return 2 * hidden * size * (2 * heads + 2 * kv_heads), 4 * heads * size


def flops(keys, length):
    """(linear, attention) operations per token, on average over a prompt of `length`; without the last projection."""
    hidden, layers = keys["hidden_size"], keys["num_hidden_layers"]
    linear, per_key = _attention_flops(keys)
    expert, dense = 6 * hidden * keys.get("moe_intermediate_size", 0), 6 * hidden * keys["intermediate_size"]
    num_experts = keys.get("n_routed_experts") or keys.get("num_experts") or 0
    num_dense = layers if not num_experts else min(keys.get("first_k_dense_replace", 0), layers)
    sparse = 2 * hidden * num_experts + expert * (keys.get("num_experts_per_tok", 0) + keys.get("n_shared_experts", 0))
    return layers * linear + num_dense * dense + (layers - num_dense) * sparse, layers * per_key * length / 2


def cache_gib(keys, num_tokens):
    """Whole GiB that hold the keys and values of so many tokens in bf16, expanded where a peer knows no latent form."""
    heads = keys["num_key_value_heads"]
    size = keys.get("head_dim") or keys["qk_nope_head_dim"] + keys["qk_rope_head_dim"]
    return math.ceil(4 * keys["num_hidden_layers"] * heads * size * num_tokens / 2**30) + 1
