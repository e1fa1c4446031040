#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes the golden data of the tiny test models with Hugging Face transformers. Run by hand: make_golden.py [NAME ...]

Needs torch and transformers. For every model NAME.json and NAME.logits.f32 are written beside this file; README.md says what
they hold.
"""

import hashlib
import json
import os
import sys
import tempfile

import numpy as np
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import make_test_models  # noqa: E402
import safetensors_io  # noqa: E402

MODELS = [name for name in make_test_models.TEST_MODELS if name != "tiny-qwen3-sharded"]
PROMPT_LENGTH = 200
NUM_GREEDY = 64
NUM_CANDIDATES = 64  # prompts that are tried
NUM_FINALISTS = 8    # those whose greedy choices are clearest; of them, the one that rounding disturbs least is kept
NUM_NOISE_RUNS = 16
# Positions of prompt + greedy tokens whose logits are kept: edges of blocks, tiles and chunks.
POSITIONS = [0, 1, 2, 7, 15, 16, 17, 31, 32, 63, 64, 65, 96, 127, 128, 129, 160, 191, 192, 198, 199, 200, 231, 262]


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def dequantised(source: str, target: str) -> str:
    """Writes the FP8 checkpoint `source` as float32, which transformers can run without a GPU."""
    tensors = safetensors_io.read_file(os.path.join(source, "model.safetensors"))
    values = {}
    for name, (info, stored) in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        values[name] = safetensors_io.to_float32(info, stored)
        if info.dtype == "F8_E4M3":
            rows, columns = info.shape
            scale = tensors[f"{name}_scale_inv"][1].repeat(128, axis=0)[:rows].repeat(128, axis=1)[:, :columns]
            values[name] = values[name] * scale
    infos = [safetensors_io.TensorInfo(name, "F32", value.shape) for name, value in values.items()]
    safetensors_io.write_sharded(target, infos, lambda info: [values[info.name]])
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    del config["quantization_config"]
    with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as file:
        json.dump({**config, "torch_dtype": "float32"}, file)
    return target


def load(directory: str, dtype: torch.dtype):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
    next_token_layer = f"model.layers.{model.config.num_hidden_layers}."
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(next_token_layer)]
    assert not info["missing_keys"] and not unexpected and not info["mismatched_keys"], info
    return model.eval()


def all_logits(model, ids: list[int]) -> np.ndarray:
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def greedy(model, prompts: torch.Tensor) -> torch.Tensor:
    cache = transformers.DynamicCache(config=model.config)
    tokens, inputs = [], prompts
    for _ in range(NUM_GREEDY):
        inputs = model(inputs, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1, keepdim=True)
        tokens.append(inputs)
    return torch.cat(tokens, dim=1)


def margins(logits: np.ndarray) -> np.ndarray:
    """Best minus second best logit at the positions that choose a greedy token."""
    best = np.sort(logits[PROMPT_LENGTH - 1 : PROMPT_LENGTH + NUM_GREEDY - 1], axis=-1)
    return best[:, -1] - best[:, -2]


def noise_errors(model, ids: list[int], logits: np.ndarray) -> np.ndarray:
    """|difference| to `logits` [runs, positions, vocab] if the output of every linear layer, norm, MLP and decoder layer is
    off by as much as rounding to bf16 may change it. Shows which positions hang on a close choice of experts."""
    random = torch.Generator().manual_seed(1)

    def disturb(module, inputs, output):
        if torch.is_tensor(output):
            return output * (1 + 2**-8 * (2 * torch.rand(output.shape, generator=random) - 1))
        return None

    exact = ("lm_head", "rotary_emb", "gate")
    hooks = [module.register_forward_hook(disturb) for name, module in model.named_modules()
             if name and name.split(".")[-1] not in exact]
    noisy = model(torch.tensor([ids] * NUM_NOISE_RUNS), use_cache=False).logits.numpy()
    for hook in hooks:
        hook.remove()
    return np.abs(noisy - logits)


def choose_prompt(model, vocab_size: int) -> tuple[list[int], list[int], np.ndarray, np.ndarray]:
    """(prompt, greedy tokens, logits of all positions, noise_errors)."""
    random = np.random.Generator(np.random.PCG64(20))
    prompts = random.integers(0, vocab_size - 3, size=(NUM_CANDIDATES, PROMPT_LENGTH))
    tokens = greedy(model, torch.from_numpy(prompts)).tolist()
    candidates = []
    for prompt, answer in zip(prompts.tolist(), tokens):
        logits = all_logits(model, prompt + answer)
        assert logits[PROMPT_LENGTH - 1 : -1].argmax(-1).tolist() == answer
        candidates.append((margins(logits).min(), prompt, answer, logits))
    finalists = sorted(candidates, key=lambda candidate: -candidate[0])[:NUM_FINALISTS]
    finals = [(prompt, answer, logits, noise_errors(model, prompt + answer, logits))
              for _, prompt, answer, logits in finalists]
    return min(finals, key=lambda final: np.sqrt((final[3] ** 2).mean()))


def error_summary(errors: np.ndarray) -> dict:
    """Of errors [runs, positions, vocab]: the worst anywhere; the worst run's rms over the kept positions; the worst at
    each of them."""
    worst_rms = np.sqrt((errors[:, POSITIONS] ** 2).mean((1, 2))).max()
    return {"max": float(f"{errors.max():.4g}"), "rms_at_positions": float(f"{worst_rms:.4g}"),
            "max_at_positions": [float(f"{x:.4g}") for x in errors[:, POSITIONS].max((0, 2))]}


def make(name: str, models_dir: str, scratch: str) -> None:
    directory = os.path.join(models_dir, name)
    runnable = dequantised(directory, tempfile.mkdtemp(dir=scratch)) if name.endswith("fp8") else directory
    model = load(runnable, torch.float32)
    vocab_size = model.config.vocab_size
    prompt, answer, logits, noise = choose_prompt(model, vocab_size)
    kept = logits[POSITIONS]
    bf16 = error_summary(np.abs(all_logits(load(runnable, torch.bfloat16), prompt + answer) - logits)[None])
    noise = error_summary(noise)
    with open(os.path.join(HERE, f"{name}.logits.f32"), "wb") as file:
        file.write(kept.astype("<f4").tobytes())
    golden = {
        "model": name,
        "make_checkpoint": make_test_models.TEST_MODELS[name],
        "safetensors_sha256": sha256(os.path.join(directory, "model.safetensors")),
        "transformers": transformers.__version__,
        "vocab_size": vocab_size,
        "prompt_ids": prompt,
        "greedy_ids": answer,
        "min_greedy_margin": float(f"{margins(logits).min():.4g}"),
        "greedy_margins": [float(f"{x:.4g}") for x in margins(logits)],
        "positions": POSITIONS,
        "logits_file": f"{name}.logits.f32",
        "logits_shape": list(kept.shape),
        "logits_std": float(f"{kept.std():.4g}"),
        "bf16_reference_error": bf16,
        "bf16_noise_error": noise,
    }
    with open(os.path.join(HERE, f"{name}.json"), "w", encoding="utf-8") as file:
        lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
        file.write(f"{{\n{lines}\n}}\n")
    print(f"{name:24} std {kept.std():.2f}  min margin {golden['min_greedy_margin']:.4f}  rms, max of bf16"
          f" {bf16['rms_at_positions']:.4f} {bf16['max']:.3f}, of noise {noise['rms_at_positions']:.4f}"
          f" {noise['max']:.3f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        models_dir = os.path.join(scratch, "models")
        make_test_models.make_all(models_dir)
        for name in sys.argv[1:] or MODELS:
            make(name, models_dir, scratch)


if __name__ == "__main__":
    main()
