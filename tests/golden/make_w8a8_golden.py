#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes the golden data of the tiny W8A8 test models with reference_model.py. Run by hand: make_w8a8_golden.py [NAME ...]

Needs numpy only. First it checks reference_model.py itself against the golden data of the float models, which are those of
transformers. The files are as make_golden.py's (README.md); beside them stands what rounding costs: the same model in float32
(`float32_reference_error`) and with every result rounded to bf16 (`bf16_reference_error`).
"""

import glob
import hashlib
import json
import os
import sys
import tempfile

import numpy as np

from reference_model import Model, read_json, to_bf16  # puts tools/ on the path, too
import make_test_models  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
FLOAT_MODELS = ["tiny-qwen3", "tiny-qwen3-moe", "tiny-qwen3-moe-mixed", "tiny-deepseek-v3",
                "tiny-deepseek-v3-plain"]
MODELS = [name for name, arguments in make_test_models.TEST_MODELS.items() if "--quantize" in arguments]
# A number that falls to the other side of a tie changes what follows by as much as quantisation itself does. Hence few tokens, and
# of many prompts the one whose numbers are farthest from ties: any right fp32 code then rounds as the reference does.
PROMPT_LENGTH = 12
NUM_GREEDY = 4
NUM_CANDIDATES = 300
POSITIONS = [0, 1, 3, 5, 8, 11, 13, 15]


def check_reference(models_dir: str) -> None:
    """The float models' logits are those of transformers."""
    for name in FLOAT_MODELS:
        golden = read_json(HERE, f"{name}.json")
        expected = np.fromfile(os.path.join(HERE, golden["logits_file"]), dtype="<f4").reshape(golden["logits_shape"])
        logits = Model(os.path.join(models_dir, name)).logits(golden["prompt_ids"] + golden["greedy_ids"])
        error = np.abs(logits[golden["positions"]] - expected).max()
        print(f"{name:32} largest difference to transformers {error:.1e}", flush=True)
        assert error < 5e-4, name


def greedy(model: Model, prompt: list[int]) -> list[int]:
    ids = list(prompt)
    for _ in range(NUM_GREEDY):
        ids.append(int(model.logits(ids)[-1].argmax()))
    return ids[len(prompt):]


def error_summary(error: np.ndarray) -> dict:
    kept = error[POSITIONS]
    return {"max": float(f"{error.max():.4g}"), "rms_at_positions": float(f"{np.sqrt((kept**2).mean()):.4g}"),
            "max_at_positions": [float(f"{x:.4g}") for x in kept.max(axis=1)]}


def make(name: str, models_dir: str) -> None:
    directory = os.path.join(models_dir, name)
    exact, single, rounded = Model(directory), Model(directory, np.float32), Model(directory, np.float32, to_bf16)
    vocab_size = exact.config["vocab_size"]
    random = np.random.Generator(np.random.PCG64(21))
    candidates = []
    for prompt in random.integers(0, vocab_size - 3, size=(NUM_CANDIDATES, PROMPT_LENGTH)).tolist():
        exact.rounding_margin = np.inf
        exact.logits(prompt)
        if candidates and exact.rounding_margin < max(candidates)[0]:
            continue
        answer = greedy(exact, prompt)
        candidates.append((exact.rounding_margin, prompt, answer))
    rounding_margin, prompt, answer = max(candidates)
    logits = exact.logits(prompt + answer)
    best = np.sort(logits[PROMPT_LENGTH - 1 : -1], axis=-1)
    margins = best[:, -1] - best[:, -2]
    kept = logits[POSITIONS]
    float32 = error_summary(np.abs(single.logits(prompt + answer) - logits))
    bf16 = error_summary(np.abs(rounded.logits(prompt + answer) - logits))
    with open(os.path.join(HERE, f"{name}.logits.f32"), "wb") as file:
        file.write(kept.astype("<f4").tobytes())
    (weights,) = glob.glob(os.path.join(directory, "*.safetensors"))
    with open(weights, "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    golden = {
        "model": name,
        "make_checkpoint": make_test_models.TEST_MODELS[name],
        "safetensors_sha256": sha256,
        "vocab_size": vocab_size,
        "prompt_ids": prompt,
        "greedy_ids": answer,
        "rounding_margin": float(f"{rounding_margin:.4g}"),
        "min_greedy_margin": float(f"{margins.min():.4g}"),
        "greedy_margins": [float(f"{x:.4g}") for x in margins],
        "positions": POSITIONS,
        "logits_file": f"{name}.logits.f32",
        "logits_shape": list(kept.shape),
        "logits_std": float(f"{kept.std():.4g}"),
        "float32_reference_error": float32,
        "bf16_reference_error": bf16,
    }
    with open(os.path.join(HERE, f"{name}.json"), "w", encoding="utf-8") as file:
        lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
        file.write(f"{{\n{lines}\n}}\n")
    print(f"{name:32} std {kept.std():.2f}  rounding margin {rounding_margin:.1e}  min margin {margins.min():.4f}  rms, max of float32"
          f" {float32['rms_at_positions']:.1e} {float32['max']:.1e}, of bf16 {bf16['rms_at_positions']:.4f}"
          f" {bf16['max']:.3f}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as models_dir:
        make_test_models.make_all(models_dir)
        check_reference(models_dir)
        for name in sys.argv[1:] or MODELS:
            make(name, models_dir)


if __name__ == "__main__":
    main()
