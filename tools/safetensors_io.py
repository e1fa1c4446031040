# SPDX-License-Identifier: Apache-2.0
"""Write and read safetensors files with numpy alone.

A file is: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, the data.
numpy has neither bfloat16 nor float8: such tensors are arrays of their bit patterns (uint16, uint8), and the
functions here convert. Tensors are produced one at a time, so that a file may be larger than memory.
"""

import dataclasses
import json
import math
import os
from typing import Callable, Iterable

import numpy as np

# safetensors' name of a dtype -> the numpy dtype that holds it
STORAGE = {
    "F64": np.dtype("<f8"), "I64": np.dtype("<i8"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4"),
    "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"),
    "F8_E4M3": np.dtype("u1"),
}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * STORAGE[self.dtype].itemsize


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 -> bfloat16 bits, rounded to nearest, ties to even. NaN stays NaN."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    nan = np.isnan(x)
    if nan.any():
        rounded[nan] = np.uint16(0x7FC0)
    return rounded


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _e4m3_values() -> np.ndarray:
    """The 256 values of float8 e4m3 (the "fn" kind: no infinity, 0x7F and 0xFF are NaN, largest 448)."""
    code = np.arange(128)
    exponent, mantissa = code >> 3, code & 7
    positive = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    positive[127] = np.nan
    return np.concatenate([positive, -positive]).astype(np.float32)


E4M3_VALUES = _e4m3_values()


def to_e4m3(x: np.ndarray) -> np.ndarray:
    """float32 -> float8 e4m3 bits, rounded to nearest, ties to even; beyond 448 it saturates."""
    magnitude = np.minimum(np.abs(x, dtype=np.float32), np.float32(448))
    bits = magnitude.view(np.uint32)
    # Normal numbers: drop 20 bits of the mantissa and change the exponent's bias from 127 to 7.
    normal = ((bits + np.uint32(0x7FFFF) + ((bits >> np.uint32(20)) & np.uint32(1))) >> np.uint32(20)) - np.uint32(120 << 3)
    # Multiples of 2^-9: the last bit of a float32 near 2^14 is worth just that.
    subnormal = (magnitude + np.float32(2**14)).view(np.uint32) - np.float32(2**14).view(np.uint32)
    codes = np.where(magnitude < np.float32(2**-6), subnormal, normal).astype(np.uint8)
    return codes | (np.signbit(x).astype(np.uint8) << np.uint8(7))


def from_e4m3(bits: np.ndarray) -> np.ndarray:
    return E4M3_VALUES[bits]


def write_file(path: str, tensors: Iterable[TensorInfo], data_of: Callable[[TensorInfo], Iterable[np.ndarray]],
               metadata: dict[str, str] | None = None) -> int:
    """Writes one file; data_of(info) yields the tensor's numbers in order, as one or more arrays of its storage
    dtype. Wide dtypes come first, so that every tensor is aligned. Returns the number of data bytes."""
    tensors = sorted(tensors, key=lambda t: -STORAGE[t.dtype].itemsize)
    header: dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    offset = 0
    for info in tensors:
        header[info.name] = {"dtype": info.dtype, "shape": list(info.shape),
                             "data_offsets": [offset, offset + info.num_bytes]}
        offset += info.num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for info in tensors:
            written = 0
            for block in data_of(info):
                assert block.dtype == STORAGE[info.dtype], (info, block.dtype)
                written += file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
            assert written == info.num_bytes, (info, written)
    return offset


def write_sharded(directory: str, tensors: list[TensorInfo], data_of: Callable[[TensorInfo], Iterable[np.ndarray]],
                  num_shards: int = 1, stem: str = "model") -> None:
    """STEM.safetensors, or `num_shards` files of about equal size and STEM.safetensors.index.json."""
    if num_shards == 1:
        write_file(os.path.join(directory, f"{stem}.safetensors"), tensors, data_of)
        return
    total = sum(t.num_bytes for t in tensors)
    shards: list[list[TensorInfo]] = [[] for _ in range(num_shards)]
    done = 0
    for info in tensors:
        shards[min(num_shards - 1, done * num_shards // max(total, 1))].append(info)
        done += info.num_bytes
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"{stem}-{i + 1:05d}-of-{num_shards:05d}.safetensors"
        write_file(os.path.join(directory, name), shard, data_of)
        weight_map.update({info.name: name for info in shard})
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    with open(os.path.join(directory, f"{stem}.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file, indent=2)
        file.write("\n")


def read_file(path: str) -> dict[str, tuple[TensorInfo, np.ndarray]]:
    """All tensors of a file as read-only views of a memory map. ValueError for a file that breaks the rules."""
    size = os.path.getsize(path)
    if size < 8:
        raise ValueError(f"{path}: {size} bytes, too short for a header")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(f"{path}: header of {length} bytes in a file of {size}")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length, shape=(size - 8 - length,))
    tensors = {}
    expected_begin = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        info = TensorInfo(name, entry["dtype"], tuple(entry["shape"]))
        begin, end = entry["data_offsets"]
        if begin != expected_begin or end - begin != info.num_bytes or end > data.size:
            raise ValueError(f"{path}: {name} {info.dtype} {info.shape} at [{begin}, {end})")
        expected_begin = end
        tensors[name] = (info, data[begin:end].view(STORAGE[info.dtype]).reshape(info.shape))
    if expected_begin != data.size:
        raise ValueError(f"{path}: {data.size - expected_begin} bytes after the last tensor")
    return tensors


def to_float32(info: TensorInfo, values: np.ndarray) -> np.ndarray:
    if info.dtype == "BF16":
        return from_bf16(values)
    if info.dtype == "F8_E4M3":
        return from_e4m3(values)
    return values.astype(np.float32)
