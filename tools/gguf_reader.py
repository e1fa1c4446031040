# SPDX-License-Identifier: Apache-2.0
"""Reads GGUF files (version 2 and 3, little-endian) with numpy: metadata, and tensors as float32.

Only the tensor types that `DEQUANTISE` lists are known. The block formats are those of ggml:
a block is 32 numbers of a row; f16 scale `d` (and minimum `m`), then the quantised numbers.
"""

import math
import mmap
import struct
from typing import Any, Callable

import numpy as np

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMS = 4


def _f16(raw: np.ndarray) -> np.ndarray:
    """[blocks, 2] bytes -> [blocks, 1] float32."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: np.ndarray) -> np.ndarray:
    """[blocks, 16] bytes -> [blocks, 32]: the low halves are numbers 0..15, the high halves 16..31."""
    return np.concatenate([raw & np.uint8(15), raw >> np.uint8(4)], axis=1).astype(np.float32)


def _q4_0(raw: np.ndarray) -> np.ndarray:
    return _f16(raw[:, :2]) * (_nibbles(raw[:, 2:]) - np.float32(8))


def _q4_1(raw: np.ndarray) -> np.ndarray:
    return _f16(raw[:, :2]) * _nibbles(raw[:, 4:]) + _f16(raw[:, 2:4])


def _q8_0(raw: np.ndarray) -> np.ndarray:
    return _f16(raw[:, :2]) * raw[:, 2:].view(np.int8).astype(np.float32)


# type id -> (name, numbers in a block, bytes of a block, [blocks, bytes] -> [blocks, numbers] float32)
DEQUANTISE: dict[int, tuple[str, int, int, Callable[[np.ndarray], np.ndarray]]] = {
    0: ("F32", 1, 4, lambda raw: raw.view("<f4")),
    1: ("F16", 1, 2, lambda raw: raw.view("<f2").astype(np.float32)),
    2: ("Q4_0", 32, 18, _q4_0),
    3: ("Q4_1", 32, 20, _q4_1),
    8: ("Q8_0", 32, 34, _q8_0),
    30: ("BF16", 1, 2, lambda raw: (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)),
}


class GgufError(Exception):
    pass


class GgufFile:
    """metadata: key -> value. tensor_names in file order; tensor(name) -> float32 [rows, columns] (or [n])."""

    def __init__(self, path: str):
        self._path = path
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pos = 0
        if self._take(4) != b"GGUF":
            raise GgufError(f"{path}: not a GGUF file")
        version = self._scalar("<I")
        if version not in (2, 3):
            raise GgufError(f"{path}: GGUF version {version}, expected 2 or 3")
        num_tensors, num_keys = self._scalar("<Q"), self._scalar("<Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("<I"))
        self._infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(num_tensors):
            name = self._string()
            num_dims = self._scalar("<I")
            if not 1 <= num_dims <= _MAX_DIMS:
                raise GgufError(f"{path}: tensor {name} has {num_dims} dimensions")
            dims = tuple(self._scalar("<Q") for _ in range(num_dims))
            self._infos[name] = (dims[::-1], self._scalar("<I"), self._scalar("<Q"))
        alignment = self.metadata.get("general.alignment", 32)
        self._data_begin = -(-self._pos // alignment) * alignment

    @property
    def tensor_names(self) -> list[str]:
        return list(self._infos)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._infos[name][0]

    def tensor_type(self, name: str) -> str:
        return DEQUANTISE[self._infos[name][1]][0]

    def tensor(self, name: str) -> np.ndarray:
        shape, type_id, offset = self._infos[name]
        if type_id not in DEQUANTISE:
            raise GgufError(f"{self._path}: tensor {name} has type {type_id}, which is not supported")
        _, block_numbers, block_bytes, dequantise = DEQUANTISE[type_id]
        if shape[-1] % block_numbers:
            raise GgufError(f"{self._path}: tensor {name}: rows of {shape[-1]}, not a multiple of {block_numbers}")
        num_bytes = math.prod(shape) // block_numbers * block_bytes
        begin = self._data_begin + offset
        if begin + num_bytes > len(self._bytes):
            raise GgufError(f"{self._path}: tensor {name} ends after the end of the file")
        raw = np.frombuffer(self._bytes, np.uint8, num_bytes, begin).reshape(-1, block_bytes)
        return dequantise(raw).reshape(shape)

    def _take(self, num_bytes: int) -> bytes:
        if self._pos + num_bytes > len(self._bytes):
            raise GgufError(f"{self._path}: cut off at byte {len(self._bytes)}")
        self._pos += num_bytes
        return self._bytes[self._pos - num_bytes : self._pos]

    def _scalar(self, kind: str) -> Any:
        return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]

    def _string(self) -> str:
        return self._take(self._scalar("<Q")).decode("utf-8")

    def _value(self, type_id: int) -> Any:
        if type_id == _STRING:
            return self._string()
        if type_id == _ARRAY:
            item_type, count = self._scalar("<I"), self._scalar("<Q")
            return [self._value(item_type) for _ in range(count)]
        if type_id not in _SCALARS:
            raise GgufError(f"{self._path}: metadata of type {type_id}")
        return self._scalar(_SCALARS[type_id])
