#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes smollm2.json with Hugging Face transformers. Run by hand: make_smollm2_golden.py MODEL_DIR

Needs torch and transformers; MODEL_DIR is what tools/get_demo_model.py made. README.md says what the file holds.
"""

import hashlib
import json
import os
import sys

import numpy as np
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
NUM_GREEDY = 24

_PROSE = """The lighthouse on the eastern cape was built in 1871, after three ships had been lost in one winter. Its first keeper, a
retired carpenter named Anders Holm, kept a diary for thirty-four years, and the diary is the reason that we know so much about the
weather of that coast. He wrote down the wind every four hours, the height of the tide at the landing stage, and the number of sails
that he could count from the gallery. On most days there is nothing else. But now and then he allowed himself a longer entry, and these
are worth reading. In March of 1883 he describes a fog that stood for eleven days: "I have not seen the sea since Tuesday, though I
hear it." In the summer of 1890 he complains about the new oil, which smoked and had to be strained through linen. And on the night of
the great storm, 12 November 1894, there are only four words, written very carefully: "The light did burn."

Historians have used the diary in two ways. The first is obvious. A record of wind and pressure that was kept without a gap from 1871
to 1905 is rare anywhere, and in this part of the world there is no other. Meteorologists have compared it with reconstructions from
tree rings and from ships' logs, and the agreement is good: of the twenty-six storms that the reconstructions predict, Holm noted
twenty-four. The second use is less obvious. Because he counted sails, and because he wrote "steam" when there was a funnel, the diary
shows how quickly one kind of ship replaced another. In 1875 about one vessel in fifteen was a steamer. In 1890 it was one in three, and
by 1903 he stopped counting sails separately, with the remark that "there is hardly any need".
"""
_CODE = '''#include <vector>

// Returns the index of the first element that is not smaller than `value`, or size() if there is none.
template <typename T>
size_t LowerBound(const std::vector<T>& sorted, const T& value) {
  size_t begin = 0, end = sorted.size();
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    if (sorted[middle] < value) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}
'''
_TABLE = "\n".join(f"{year},{1000 + 37 * i},{(year * 7919) % 1000 / 10:.1f}" for i, year in enumerate(range(1990, 2020)))

PROMPTS: list = [
    "Hello",
    "The capital of France is",
    "1, 1, 2, 3, 5, 8, 13, 21, 34,",
    "3.14159265358979323846264338327950288419716939937510",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "今天天气很好，我们一起去公园散步吧。你想吃什么？",
    "Der Zug nach München fährt um 14:35 Uhr von Gleis 7 ab. Größe, Maß, Straße.",
    "🦜 emoji 👩‍👩‍👧‍👦, naïve café, ½ + ¼ = ¾, x² + y² = z²\n\n\t\ttabs",
    "Q: If a train travels 60 miles in 1.5 hours, what is its average speed?\nA:",
    '{"name": "sensor-7", "values": [12, 15, 9, 22], "unit": "mm", "ok": true, "next": null}',
    "SELECT name, COUNT(*) FROM orders WHERE year = 2021 GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    _CODE,
    "year,count,share\n" + _TABLE,
    "Once upon a time, in a small village at the edge of a dark forest, there lived a clockmaker who had never owned a clock. "
    "People came from far away to ask him the hour, and he always",
    _PROSE.split("\n\n")[0],
    _PROSE + "\n\n" + _CODE,
    _PROSE + "\nSummary:",
    [{"role": "user", "content": "What is gravity?"}],
    [{"role": "system", "content": "Answer in one short sentence."},
     {"role": "user", "content": "Why is the sky blue?"},
     {"role": "assistant", "content": "Because air scatters blue light more than red light."},
     {"role": "user", "content": "And why is a sunset red?"}],
    [{"role": "user", "content": "Explain this function:\n\n" + _CODE}],
]


def log_probabilities(model, ids: list[int]) -> np.ndarray:
    """log p(ids[i] | ids[:i]) for i >= 1."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()


def greedy(model, ids: list[int]) -> tuple[list[int], list[float]]:
    """(tokens, best minus second best logit); the end token does not end it."""
    cache, inputs, tokens, margins = transformers.DynamicCache(config=model.config), torch.tensor([ids]), [], []
    for _ in range(NUM_GREEDY):
        best = model(inputs, past_key_values=cache, use_cache=True).logits[0, -1].topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        inputs = torch.tensor([[tokens[-1]]])
    return tokens, margins


def digits(value: float) -> float:
    return float(f"{value:.5g}")


def main() -> None:
    model_dir = sys.argv[1]
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    exact, bf16 = (transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="eager").eval()
                   for dtype in (torch.float32, torch.bfloat16))
    with open(os.path.join(model_dir, "model.safetensors"), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cases, errors = [], []
    with torch.no_grad():
        for prompt in PROMPTS:
            text = prompt if isinstance(prompt, str) else tokenizer.apply_chat_template(
                prompt, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            expected = log_probabilities(exact, ids) if len(ids) > 1 else np.zeros(0)
            error = np.abs(log_probabilities(bf16, ids) - expected) if len(ids) > 1 else np.zeros(0)
            tokens, margins = greedy(exact, ids)
            errors.append(error)
            cases.append({
                **({} if isinstance(prompt, str) else {"messages": prompt}), "text": text, "prompt_ids": ids,
                "logprobs": [digits(x) for x in expected], "greedy_ids": tokens, "greedy_text": tokenizer.decode(tokens),
                "greedy_margins": [digits(x) for x in margins],
                "bf16_reference_error": {"max": digits(error.max(initial=0)), "rms": digits(np.sqrt((error**2).mean()))}
                if len(ids) > 1 else None,
            })
            print(f"{len(ids):4} tokens, bf16 error max {error.max(initial=0):.3f}: {tokenizer.decode(tokens)!r}", flush=True)
    every = np.concatenate(errors)
    golden = {
        "model": "SmolLM2-135M-Instruct as tools/get_demo_model.py makes it",
        "safetensors_sha256": digest,
        "transformers": transformers.__version__,
        "bf16_reference_error": {"max": digits(every.max()), "rms": digits(np.sqrt((every**2).mean())),
                                 "mean": digits(every.mean())},
    }
    with open(os.path.join(HERE, "smollm2.json"), "w", encoding="utf-8") as file:
        head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in golden.items())
        body = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in cases)
        file.write(f'{{\n{head} "cases": [\n{body}\n ]\n}}\n')
    print(golden["bf16_reference_error"])


if __name__ == "__main__":
    main()
