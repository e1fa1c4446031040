#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint with random weights, for tests and benchmarks.

    make_checkpoint.py PRESET DIR [--layers N] [--hidden-size N] ... [--set KEY=JSON] [--seed S]
                       [--dtype bfloat16|float16|float32|fp8] [--shards K] [--mtp]
                       [--quantize w8a8|w8a8-dynamic|w8a8-static|w8a8-mix|compressed-tensors] [--norm-bias]
                       [--tokenizer tiny|qwen3|deepseek|none|DIR] [--tokenizer-cache DIR]

The same arguments give the same bytes on every machine: each tensor has its own stream of random bits (PCG64, seeded with
the tensor's name), and 16 bits at a time choose one of 65,536 normally distributed numbers from a table.
A second run with the same arguments does nothing.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import zlib
from typing import Any, Iterator

import numpy as np

import atomic_dir
import checkpoint_tensors
import fetch_tokenizer
import quantised_weights
import safetensors_io
import tiny_tokenizer
from checkpoint_presets import FP8_QUANTIZATION, PRESETS, resolve
from checkpoint_tensors import Init
from fetch_package import FetchError
from safetensors_io import TensorInfo

# option -> the key of config.json that it sets
SIZE_OPTIONS = {
    "layers": "num_hidden_layers", "hidden-size": "hidden_size", "intermediate-size": "intermediate_size",
    "heads": "num_attention_heads", "kv-heads": "num_key_value_heads", "head-dim": "head_dim",
    "vocab-size": "vocab_size", "max-positions": "max_position_embeddings",
    "moe-intermediate-size": "moe_intermediate_size", "experts-per-token": "num_experts_per_tok",
}
STORED_DTYPE = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "fp8": "BF16"}
BLOCK_NUMBERS = 1 << 22  # numbers that are made at a time
FP8_BLOCK = 128


class BadArguments(Exception):
    pass


def _normal_table() -> np.ndarray:
    """65,536 numbers that stand for equal shares of the normal distribution. They are rounded to multiples of 2^-14,
    far above any difference between mathematical libraries."""
    inverse = statistics.NormalDist().inv_cdf
    upper = [round(inverse(0.5 + (i + 0.5) / 65536) * 16384) / 16384 for i in range(32768)]
    return np.array([-x for x in reversed(upper)] + upper, dtype=np.float32)


class Weights:
    """Makes the numbers of tensors. data_of() is what safetensors_io.write_* asks for."""

    def __init__(self, inits: list[Init], dtype: str, seed: int):
        self._inits = {init.name: init for init in inits}
        self._dtype = dtype
        self._seed = seed
        self._normal = _normal_table()

    def infos(self) -> list[TensorInfo]:
        return [info for init in self._inits.values() for info in self._infos_of(init)]

    @property
    def inits(self) -> list[Init]:
        return list(self._inits.values())

    @property
    def stored_dtype(self) -> str:
        return STORED_DTYPE[self._dtype]

    def normal(self, name: str) -> np.ndarray:
        """The numbers of a tensor in float32, before any rounding to a stored type."""
        init = self._inits[name]
        return (self._normal[np.concatenate(list(self._random_bits(init)))].reshape(init.shape)
                * np.float32(init.std) + np.float32(init.mean))

    def data_of(self, info: TensorInfo) -> Iterator[np.ndarray]:
        if info.name.endswith("_scale_inv"):
            yield self._scaled(self._inits[info.name.removesuffix("_scale_inv")])[1]
        elif info.dtype == "F8_E4M3":
            yield safetensors_io.to_e4m3(self._scaled(self._inits[info.name])[0])
        else:
            init = self._inits[info.name]
            table = self._normal * np.float32(init.std) + np.float32(init.mean)
            if info.dtype == "BF16":
                table = safetensors_io.to_bf16(table)
            table = table.astype(safetensors_io.STORAGE[info.dtype])
            for indices in self._random_bits(init):
                yield table[indices]

    def _infos_of(self, init: Init) -> Iterator[TensorInfo]:
        if init.kind == "float32":
            yield TensorInfo(init.name, "F32", init.shape)
        elif init.kind == "linear" and self._dtype == "fp8":
            yield TensorInfo(init.name, "F8_E4M3", init.shape)
            yield TensorInfo(f"{init.name}_scale_inv", "F32", tuple(-(-n // FP8_BLOCK) for n in init.shape))
        else:
            yield TensorInfo(init.name, STORED_DTYPE[self._dtype], init.shape)

    def _random_bits(self, init: Init) -> Iterator[np.ndarray]:
        """Blocks of uint16, as many as the tensor has numbers."""
        generator = np.random.PCG64([self._seed, zlib.crc32(init.name.encode())])
        left = int(np.prod(init.shape))
        while left > 0:
            count = min(left, BLOCK_NUMBERS)
            yield generator.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
            left -= count

    def _scaled(self, init: Init) -> tuple[np.ndarray, np.ndarray]:
        """(numbers divided by the scale of their block, scales of the 128 x 128 blocks [row blocks, column blocks]).
        Blocks differ in magnitude, so that a wrong scale shows."""
        values = self._normal[np.concatenate(list(self._random_bits(init)))].reshape(init.shape) * np.float32(init.std)
        shape = tuple(-(-n // FP8_BLOCK) for n in init.shape)
        bits = np.random.PCG64([self._seed, zlib.crc32(init.name.encode()), 1]).random_raw(shape[0] * shape[1])
        magnitudes = (0.5 + bits / 2.0**64).astype(np.float32).reshape(shape)  # [0.5, 1.5)
        scales = np.empty(shape, dtype=np.float32)
        for r, c in np.ndindex(shape):
            block = values[r * FP8_BLOCK : (r + 1) * FP8_BLOCK, c * FP8_BLOCK : (c + 1) * FP8_BLOCK]
            block *= magnitudes[r, c]
            scales[r, c] = np.abs(block).max() / np.float32(448)
            block /= scales[r, c]
        return values, scales


def _tokenizer_files(args: argparse.Namespace) -> str | None:
    """The directory that has tokenizer.json, or None for the tiny one and for none at all."""
    if args.tokenizer in ("tiny", "none"):
        return None
    if args.tokenizer in fetch_tokenizer.SOURCES:
        directory = os.path.join(args.tokenizer_cache, args.tokenizer)
        fetch_tokenizer.fetch_tokenizer(args.tokenizer, directory)
        return directory
    if not os.path.isfile(os.path.join(args.tokenizer, "tokenizer.json")):
        raise BadArguments(f"--tokenizer {args.tokenizer}: no tokenizer.json there, and not one of "
                           f"tiny, none, {', '.join(sorted(fetch_tokenizer.SOURCES))}")
    return args.tokenizer


def _token_ids(tokenizer_dir: str) -> tuple[int, dict[str, int]]:
    """(number of ids, {"bos" | "eos" | "pad": id}) of a tokenizer's files."""
    with open(os.path.join(tokenizer_dir, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    with open(os.path.join(tokenizer_dir, "tokenizer_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}
    named = {}
    for name in ("bos", "eos", "pad"):
        token = config.get(f"{name}_token")
        token = token["content"] if isinstance(token, dict) else token
        if token is not None:
            named[name] = ids[token]
    return max(ids.values()) + 1, named


def _config(args: argparse.Namespace, tokenizer_dir: str | None) -> tuple[dict[str, Any], dict[str, int]]:
    """(config.json, the special tokens' ids)."""
    config = resolve(args.preset)
    for option, key in SIZE_OPTIONS.items():
        value = getattr(args, option.replace("-", "_"))
        if value is not None:
            config[key] = value
    if args.experts is not None:
        config["n_routed_experts" if config["model_type"] == "deepseek_v3" else "num_experts"] = args.experts
    for assignment in args.set:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise BadArguments(f"--set {assignment}: expected KEY=JSON")
        try:
            config[key] = json.loads(value)
        except ValueError as error:
            raise BadArguments(f"--set {assignment}: {error}") from None
    if config["hidden_size"] % config["num_attention_heads"]:
        raise BadArguments(f"hidden size {config['hidden_size']} is no multiple of {config['num_attention_heads']} heads")
    if args.mtp:
        if config["model_type"] != "deepseek_v3":
            raise BadArguments("--mtp is for DeepSeek presets")
        config["num_nextn_predict_layers"] = 1
    config["torch_dtype"] = "bfloat16" if args.dtype == "fp8" else args.dtype
    if args.dtype == "fp8":
        config["quantization_config"] = FP8_QUANTIZATION
    if args.quantize:
        if args.dtype == "fp8":
            raise BadArguments("--quantize and --dtype fp8: one of them")
        config.update(quantised_weights.config_keys(args.quantize))
    ids = {"bos": 0, "eos": 1} if args.tokenizer == "none" else {}
    if args.tokenizer == "tiny":
        first = config["vocab_size"] - len(tiny_tokenizer.SPECIAL_TOKENS)
        ids = {"bos": first, "eos": first + 2, "pad": first}
    elif tokenizer_dir is not None:
        num_ids, ids = _token_ids(tokenizer_dir)
        if config["vocab_size"] < num_ids and args.vocab_size is not None:
            raise BadArguments(f"--vocab-size {args.vocab_size}: the tokenizer has {num_ids} ids")
        config["vocab_size"] = max(config["vocab_size"], -(-num_ids // 64) * 64)
    config.update({f"{name}_token_id": ids[name] for name in ("bos", "eos") if name in ids})
    return dict(sorted(config.items())), ids


def _recipe(args: argparse.Namespace) -> dict[str, Any]:
    here = os.path.dirname(os.path.abspath(__file__))
    sources = [os.path.join(here, name) for name in (
        "make_checkpoint.py", "checkpoint_presets.py", "checkpoint_tensors.py", "safetensors_io.py", "tiny_tokenizer.py",
        "quantised_weights.py")]
    options = {key: value for key, value in vars(args).items() if key not in ("directory", "tokenizer_cache")}
    return {"tool": "make_checkpoint", "sources": atomic_dir.source_hash(*sources), "options": options}


def make(args: argparse.Namespace) -> bool:
    """Makes what the arguments say; False if it was there already."""
    recipe = _recipe(args)
    if atomic_dir.is_complete(args.directory, recipe):
        return False
    tokenizer_dir = _tokenizer_files(args)
    config, ids = _config(args, tokenizer_dir)
    with atomic_dir.build(args.directory, recipe) as directory:
        if directory is None:
            return False
        inits = list(checkpoint_tensors.tensors(config))
        if args.norm_bias:
            inits += checkpoint_tensors.norm_biases(inits, config["num_hidden_layers"])
        weights: Weights = Weights(inits, args.dtype, args.seed)
        stem = "model"
        if args.quantize:
            weights = quantised_weights.QuantisedWeights(weights, args.quantize, args.seed)
            stem = quantised_weights.file_stem(args.quantize)
            if description := weights.description():
                atomic_dir.write_json(directory, "quant_model_description.json", description)
        safetensors_io.write_sharded(directory, weights.infos(), weights.data_of, args.shards, stem)
        atomic_dir.write_json(directory, "config.json", config)
        atomic_dir.write_json(directory, "generation_config.json",
                              {"_from_model_config": True, **{f"{name}_token_id": n for name, n in ids.items()}})
        if args.tokenizer == "tiny":
            tiny_tokenizer.write(directory, config["vocab_size"])
        elif tokenizer_dir is not None:
            for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
                if os.path.exists(os.path.join(tokenizer_dir, name)):
                    shutil.copyfile(os.path.join(tokenizer_dir, name), os.path.join(directory, name))
    return True


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description="Writes a checkpoint with random weights.")
    result.add_argument("preset", choices=PRESETS)
    result.add_argument("directory")
    for option, key in SIZE_OPTIONS.items():
        result.add_argument(f"--{option}", type=int, metavar="N", help=f"{key} of config.json")
    result.add_argument("--experts", type=int, metavar="N", help="number of routed experts")
    result.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="any key of config.json")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--dtype", choices=STORED_DTYPE, default="bfloat16",
                        help="fp8: e4m3 with scales of 128 x 128 blocks, as DeepSeek publishes")
    result.add_argument("--shards", type=int, default=1, metavar="K", help="number of safetensors files")
    result.add_argument("--mtp", action="store_true", help="add a multi-token-prediction layer (DeepSeek)")
    result.add_argument("--quantize", choices=quantised_weights.SCHEMES,
                        help="8-bit weights: as msModelSlim writes them for Ascend, or llm-compressor")
    result.add_argument("--norm-bias", action="store_true", help="norms have a bias, as anti-outlier methods leave")
    result.add_argument("--tokenizer", default="tiny", metavar="tiny|qwen3|deepseek|none|DIR")
    result.add_argument("--tokenizer-cache", default=os.path.expanduser("~/.cache/penstock/tokenizers"), metavar="DIR",
                        help="where fetched tokenizers are kept")
    return result


def main() -> int:
    args = parser().parse_args()
    try:
        made = make(args)
    except (BadArguments, FetchError, atomic_dir.NotOurs, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(entry.stat().st_size for entry in os.scandir(args.directory))
    print(f"{args.directory}: {args.preset}, {size / 1e6:.1f} MB{'' if made else ' (was there)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
