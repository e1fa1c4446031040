# SPDX-License-Identifier: Apache-2.0
"""8-bit forms of random weights: as msModelSlim writes them for Ascend, and as llm-compressor does (compressed-tensors).

A form is a pure function of the float weights and the seed. The scales and offsets of static inputs are not measured but drawn,
so that each differs: what counts in a test is that they are used, each where it belongs.
"""

import zlib
from typing import Any, Iterator

import numpy as np

import safetensors_io
from checkpoint_tensors import Init
from safetensors_io import TensorInfo

# w8a8: as the recipes for DeepSeek-V3.1 and Qwen3-235B have it: attention static, MLP and experts dynamic.
SCHEMES = ("w8a8", "w8a8-dynamic", "w8a8-static", "w8a8-mix", "compressed-tensors")

_PER_CHANNEL = {"num_bits": 8, "type": "int", "symmetric": True, "group_size": None, "block_structure": None,
                "actorder": None, "observer": "minmax", "observer_kwargs": {}}
_COMPRESSED_TENSORS = {
    "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
    "global_compression_ratio": None, "kv_cache_scheme": None, "ignore": ["lm_head", "re:.*mlp\\.gate$"],
    "config_groups": {"group_0": {
        "targets": ["Linear"], "output_activations": None,
        "weights": {**_PER_CHANNEL, "strategy": "channel", "dynamic": False},
        "input_activations": {**_PER_CHANNEL, "strategy": "token", "dynamic": True, "observer": None},
    }},
}


def file_stem(scheme: str) -> str:
    if scheme == "compressed-tensors":
        return "model"
    return "quant_model_weight_w8a8_dynamic" if scheme == "w8a8-dynamic" else "quant_model_weight_w8a8"


def config_keys(scheme: str) -> dict[str, Any]:
    """What stands in config.json."""
    if scheme == "compressed-tensors":
        return {"quantization_config": _COMPRESSED_TENSORS}
    return {"quantize": scheme.replace("-", "_")}


def weight_type(scheme: str, init: Init) -> str:
    """The type of a weight in an Ascend description."""
    if init.kind != "linear" or ".kv_b_proj." in init.name:
        return "FLOAT"
    is_attention = ".self_attn." in init.name
    if scheme in ("w8a8-dynamic", "compressed-tensors"):
        return "W8A8_DYNAMIC"
    if scheme == "w8a8-static":
        return "FLOAT" if ".experts." in init.name else "W8A8"
    if is_attention:
        return "W8A8_MIX" if scheme == "w8a8-mix" else "W8A8"
    return "W8A8_DYNAMIC"


def _input_name(name: str) -> str:
    """What a matrix multiplies: those that share it have the same name."""
    for one, shared in (("q_proj", "x"), ("k_proj", "x"), ("v_proj", "x"), ("q_a_proj", "x"), ("kv_a_proj_with_mqa", "x"),
                        ("gate_proj", "x"), ("up_proj", "x")):
        if name.endswith(f".{one}.weight"):
            return name.removesuffix(f"{one}.weight") + shared
    return name


def quantise_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8, scales [rows, 1]): symmetric, the largest of a row is 127."""
    scales = np.abs(values).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    return np.rint(values / scales).astype(np.int8), scales


class QuantisedWeights:
    """Beside what make_checkpoint.Weights does: infos() and data_of() of the quantised tensors."""

    def __init__(self, weights: Any, scheme: str, seed: int):
        self._weights = weights
        self._scheme = scheme
        self._seed = seed
        self._inits = {init.name: init for init in weights.inits}
        self._types = {name: weight_type(scheme, init) for name, init in self._inits.items() if name.endswith(".weight")}
        if any(".eh_proj." in name for name in self._types):  # multi-token prediction stays as it is
            last = next(name for name in self._types if ".eh_proj." in name).removesuffix("eh_proj.weight")
            self._types.update({name: "FLOAT" for name in self._types if name.startswith(last)})

    def description(self) -> dict[str, Any]:
        """quant_model_description.json; empty where the scheme has none."""
        if self._scheme == "compressed-tensors":
            return {}
        model_type = "W8A8_DYNAMIC" if self._scheme == "w8a8-dynamic" else "W8A8"
        types: dict[str, Any] = {"model_quant_type": model_type, "version": "1.0.0", "group_size": 0}
        for info in self.infos():
            weight = info.name.rpartition(".")[0] + ".weight"
            stored_float = info.name.endswith(".bias") or weight not in self._types
            types[info.name] = "FLOAT" if stored_float else self._types[weight]
        return types

    def infos(self) -> list[TensorInfo]:
        infos = []
        for info in self._weights.infos():
            kind = self._types.get(info.name, "FLOAT")
            if kind == "FLOAT":
                infos.append(info)
                continue
            stem, (rows, _) = info.name.removesuffix("weight"), info.shape
            infos += [TensorInfo(info.name, "I8", info.shape), TensorInfo(f"{stem}weight_scale", "F32", (rows, 1))]
            if self._scheme != "compressed-tensors":
                infos.append(TensorInfo(f"{stem}weight_offset", "F32", (rows, 1)))
            if kind in ("W8A8", "W8A8_MIX"):
                deq_dtype = "I64" if self._weights.stored_dtype == "F16" else "F32"
                infos += [TensorInfo(f"{stem}input_scale", "F32", (1,)), TensorInfo(f"{stem}input_offset", "F32", (1,)),
                          TensorInfo(f"{stem}deq_scale", deq_dtype, (rows,)), TensorInfo(f"{stem}quant_bias", "I32", (rows,))]
        return infos

    def data_of(self, info: TensorInfo) -> Iterator[np.ndarray]:
        stem, _, part = info.name.rpartition(".")
        weight = f"{stem}.weight"
        if self._types.get(weight, "FLOAT") == "FLOAT" or part == "bias":
            yield from self._weights.data_of(info)
        else:
            yield self._part(weight, part, info)

    def _part(self, weight: str, part: str, info: TensorInfo) -> np.ndarray:
        quantised, scales = quantise_rows(self._rows(weight))
        input_scale, input_offset = self._input(weight)
        deq_scale = (input_scale * scales[:, 0]).astype(np.float32)
        if part == "weight":
            return quantised
        if part == "weight_scale":
            return scales
        if part == "weight_offset":
            return np.zeros_like(scales)
        if part == "input_scale":
            return np.array([input_scale], dtype=np.float32)
        if part == "input_offset":
            return np.array([input_offset], dtype=np.float32)
        if part == "deq_scale":
            return deq_scale if info.dtype == "F32" else deq_scale.view(np.uint32).astype(np.int64)
        assert part == "quant_bias", part
        sums = quantised.astype(np.int64).sum(axis=1)
        return np.rint(self._bias(weight) / deq_scale - input_offset * sums).astype(np.int32)

    def _rows(self, weight: str) -> np.ndarray:
        """The float weights; rows differ in magnitude, so that a wrong scale shows."""
        values = self._weights.normal(weight)
        bits = np.random.PCG64([self._seed, zlib.crc32(weight.encode()), 2]).random_raw(values.shape[0])
        return values * (0.5 + bits / 2.0**64).astype(np.float32)[:, None]

    def _input(self, weight: str) -> tuple[np.float32, int]:
        """Scale and offset of what the matrix multiplies: numbers near 1, most of them within the range."""
        bits = np.random.PCG64([self._seed, zlib.crc32(_input_name(weight).encode()), 3]).random_raw(2)
        return np.float32(0.03 + 0.02 * (int(bits[0]) / 2.0**64)), int(bits[1] % 41) - 20

    def _bias(self, weight: str) -> np.ndarray:
        """Of the linear layer, as it is stored; zeros if it has none."""
        name = weight.removesuffix("weight") + "bias"
        if name not in self._inits:
            return np.zeros(1, dtype=np.float32)
        info = next(info for info in self._weights.infos() if info.name == name)
        return safetensors_io.to_float32(info, np.concatenate(list(self._weights.data_of(info))))
