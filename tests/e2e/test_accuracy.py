"""How much the precision of weights and cache changes what SmolLM2 says, through the server's own API.

    python3 tests/e2e/test_accuracy.py [MODEL_DIR] [--json FILE] [--windows N] [--window TOKENS] [--text FILE…]

(build/penstock must be there.) Perplexity on the GPL as Debian's base-files ships it, in windows of 2,048 tokens; the share of
positions with the same most likely token as bf16; and how long greedy continuations stay the same. The last three options are for
measuring by hand: the bounds are meant for the defaults.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

from serving import ROOT, Server

LICENCES = pathlib.Path("/usr/share/common-licenses")
TEXTS = {  # the first that is there as we know it
    "GPL-3": "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986",
    "GPL-2": "8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643",
}
PENSTOCK = ROOT / "build/penstock"
CALIBRATION = LICENCES / "Apache-2.0"  # has no passage in common with the texts
INT8_ATTENTION = ("--kv-cache-dtype", "int8")
VARIANTS = {  # scheme of `penstock quantize`, or None for the model as it is; flags of the server
    "float32": (None, ("--dtype", "float32")),
    "bf16": (None, ()),
    "w8a8-dynamic": ("w8a8-dynamic", ()),
    "w8a8-dynamic, int8 attention": ("w8a8-dynamic", INT8_ATTENTION),
    "bf16, int8 attention": (None, INT8_ATTENTION),
    "w8a8": ("w8a8", ()),
    "-q w8a8-dynamic, at load": (None, ("-q", "w8a8-dynamic")),
}
NUM_CONTINUATIONS, PROMPT_LEN, NUM_GREEDY = 32, 64, 32
OPTIONS = argparse.Namespace()


def read_text():
    """(name, text), or the reason why there is none."""
    if OPTIONS.text:
        return " + ".join(path.name for path in OPTIONS.text), "".join(path.read_text() for path in OPTIONS.text)
    reasons = []
    for name, digest in TEXTS.items():
        file = LICENCES / name
        if not file.exists():
            reasons.append(f"{file} is not there")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            reasons.append(f"{file} is not the text that Debian 12 ships")
        else:
            return name, file.read_text()
    raise unittest.SkipTest("; ".join(reasons))


class Scores:
    """What one variant says of the windows: of each token but the first of a window its log-probability and the most likely one."""

    def __init__(self, model, flags, text):
        self.logprobs, self.best, self.greedy = [], [], []
        longest = str(OPTIONS.window + 1)
        with Server(model, "--served-model-name", "m", "--max-model-len", longest, "--calibration", "off",
                    "--max-num-batched-tokens", 2048, *flags) as server:
            ids = server.post("/tokenize", {"model": "m", "prompt": text, "add_special_tokens": False})["tokens"]
            for window in range(OPTIONS.windows):
                self.score(server, ids[window * OPTIONS.window:(window + 1) * OPTIONS.window])
            step = (len(ids) - PROMPT_LEN) // NUM_CONTINUATIONS
            prompts = [ids[i * step:i * step + PROMPT_LEN] for i in range(NUM_CONTINUATIONS)]
            answer = server.post("/v1/completions", {"model": "m", "prompt": prompts, "max_tokens": NUM_GREEDY, "temperature": 0,
                                                     "ignore_eos": True, "return_token_ids": True})
            self.greedy = [choice["token_ids"] for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]

    def score(self, server, window):
        if len(window) < 2:
            return
        answer = server.post("/v1/completions", {"model": "m", "prompt": window, "max_tokens": 1, "temperature": 0,
                                                 "prompt_logprobs": 1})
        for token, entry in zip(window[1:], answer["choices"][0]["prompt_logprobs"][1:]):
            self.logprobs.append(entry[str(token)]["logprob"])
            self.best.append(max(entry, key=lambda key: entry[key]["logprob"]))

    @property
    def perplexity(self):
        return math.exp(-sum(self.logprobs) / len(self.logprobs))

    def beside(self, other):
        same = [common_prefix(a, b) for a, b in zip(self.greedy, other.greedy)]
        return {
            "perplexity": self.perplexity,
            "perplexity_ratio": self.perplexity / other.perplexity,
            "argmax_agreement": sum(a == b for a, b in zip(self.best, other.best)) / len(self.best),
            "tokens_before_first_difference": sum(same) / len(same),
            "continuations_alike": sum(n == NUM_GREEDY for n in same),
        }


def common_prefix(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


class AccuracyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.name, text = read_text()
        if not CALIBRATION.exists():
            raise unittest.SkipTest(f"{CALIBRATION} is not there")
        cls.scores = {}
        with tempfile.TemporaryDirectory() as folder:
            models = {None: OPTIONS.model}
            for scheme in ("w8a8", "w8a8-dynamic"):
                models[scheme] = pathlib.Path(folder) / scheme
                subprocess.run([PENSTOCK, "quantize", OPTIONS.model, models[scheme], "--scheme", scheme,
                                "--calibration-data", CALIBRATION], check=True, capture_output=True)
            for variant, (scheme, flags) in VARIANTS.items():
                cls.scores[variant] = Scores(models[scheme], flags, text)
        cls.rows = {variant: scores.beside(cls.scores["bf16"]) for variant, scores in cls.scores.items()}
        cls.report()

    @classmethod
    def report(cls):
        count = len(cls.scores["bf16"].logprobs)
        print(f"\n{cls.name}: {count} tokens in {OPTIONS.windows} windows of {OPTIONS.window}, beside bf16\n"
              f"{'':30}{'perplexity':>12}{'change':>10}{'same argmax':>13}{'same greedy tokens of ' + str(NUM_GREEDY):>28}")
        for variant, row in cls.rows.items():
            print(f"{variant:30}{row['perplexity']:12.4f}{100 * (row['perplexity_ratio'] - 1):+9.3f}%"
                  f"{100 * row['argmax_agreement']:12.2f}%{row['tokens_before_first_difference']:28.1f}")
        sys.stdout.flush()
        if OPTIONS.json:
            OPTIONS.json.write_text(json.dumps({"text": cls.name, "tokens": count, "window": OPTIONS.window, "variants": cls.rows}, indent=1))

    def test_the_text_is_understood(self):
        self.assertLess(self.scores["float32"].perplexity, 40)  # of 49,152: a model that is broken has thousands

    def test_bf16_beside_float32(self):
        ratio = self.scores["bf16"].perplexity / self.scores["float32"].perplexity
        self.assertLess(abs(ratio - 1), 0.005)

    def test_int8_weights_beside_bf16(self):
        for variant, bound in {"w8a8-dynamic": 1.015, "w8a8": 1.03, "-q w8a8-dynamic, at load": 1.06}.items():
            with self.subTest(variant):
                self.assertNotEqual(self.scores[variant].logprobs, self.scores["bf16"].logprobs, "nothing was quantised")
                self.assertLess(self.scores[variant].perplexity / self.scores["bf16"].perplexity, bound)

    def test_int8_attention_beside_int8_weights(self):
        for variant, other in {"w8a8-dynamic, int8 attention": "w8a8-dynamic", "bf16, int8 attention": "bf16"}.items():
            with self.subTest(variant):
                scores, weights = self.scores[variant], self.scores[other]
                self.assertNotEqual(scores.logprobs, weights.logprobs, "the flag does nothing")
                self.assertLess(scores.perplexity / weights.perplexity, 1.005)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--text", type=pathlib.Path, nargs="+")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
