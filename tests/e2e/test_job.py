"""`penstock` as several processes under mpirun: layouts, bad input, and ranks that are lost.

    python3 tests/e2e/test_job.py TEST_MODELS_DIR [--all] [unittest's arguments]

TEST_MODELS_DIR as tools/make_test_models.py makes it; build/penstock must be there. With --all every layout runs
with every family of models, else each layout with one of them in turn.

SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import functools
import json
import pathlib
import sys
import unittest

from jobs import Job, all_gone, why_no_mpi
from serving import ROOT, Server

ALL = "--all" in sys.argv
sys.argv = [word for word in sys.argv if word != "--all"]
MODELS = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else ROOT / "build/test_models"
FAMILIES = ("tiny-llama", "tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-v3")
EXPERTS = ("tiny-qwen3-moe", "tiny-deepseek-v3")
# Sums in another order than one rank's must not change a token: float32.
FLAGS = ("--dtype", "float32", "--max-model-len", 1024, "--max-num-batched-tokens", 64, "--num-gpu-blocks-override", 64)
LAYOUTS = [  # processes, flags, families
    (4, "-pp 2 -tp 2", FAMILIES),
    (4, "-pp 2 -pcp 2", FAMILIES),
    (4, "-pp 4", FAMILIES),
    (4, "-tp 4", FAMILIES),
    (2, "-pp 2", FAMILIES),
    (2, "-tp 2", FAMILIES),
    (2, "-pcp 2", FAMILIES),
    (2, "-pp 2 -tp 2", FAMILIES),
    (2, "-pp 4", FAMILIES),
    (2, "-pp 2 --synchronous-sends", FAMILIES),
    (2, "-tp 2 -ep", EXPERTS),
    (4, "-pp 2 -tp 2 -ep", EXPERTS),
    (2, "-pp 2 -tp 2 -ep", EXPERTS),
    (4, "-pp 2 -tp 2 --enable-sequence-parallel --sequence-parallel-min-tokens 1", FAMILIES),
    (4, "-pp 2 -tp 2 -ep --enable-sequence-parallel --sequence-parallel-min-tokens 1", EXPERTS),
    (2, "-dp 2", FAMILIES),
    (2, "-dp 2 -ep", EXPERTS),
    (4, "-dp 2 -pp 2", FAMILIES),
    (2, "-dp 2 -pp 2", FAMILIES),
    (4, "-dp 2 -tp 2 -ep", EXPERTS),
]
NUM_TOKENS = 32


@functools.cache
def golden(model):
    return json.loads((ROOT / f"tests/golden/{model}.json").read_text())


def prompts(model):
    """The golden prompt, beginnings of it, and what begins elsewhere."""
    ids = golden(model)["prompt_ids"]
    return [ids, ids[:1], ids[:33], ids[:130], ids[50:], ids[100:164]]


def complete(server, model, prompt, **fields):
    answer = server.post("/v1/completions", {
        "model": str(MODELS / model), "prompt": prompt, "max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True,
        "return_token_ids": True, **fields})
    return answer["choices"][0]["token_ids"], answer["choices"][0]["text"]


def answers(server, model):
    """To the prompts, first one at a time, then all at once."""
    alone = [complete(server, model, prompt) for prompt in prompts(model)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: complete(server, model, prompt[::-1]), prompts(model)))
    return alone + together


@functools.cache
def expected(model):
    with Server(MODELS / model, *FLAGS, "--calibration", "off") as server:
        texts = answers(server, model)
    assert texts[0][0] == golden(model)["greedy_ids"][:NUM_TOKENS]
    return texts


@unittest.skipIf(why_no_mpi(), why_no_mpi())
class JobTestCase(unittest.TestCase):
    maxDiff = None


class LayoutTest(JobTestCase):
    def test_every_layout_says_what_one_rank_says(self):
        for i, (processes, flags, families) in enumerate(LAYOUTS):
            for model in families if ALL else families[i % len(families):][:1]:
                with self.subTest(model=model, processes=processes, flags=flags):
                    job = Job(processes, MODELS / model, *FLAGS, *flags.split())
                    with job:
                        self.assertEqual(answers(job, model), expected(model))
                    self.assertEqual(job.stop(), 0, job.log_text()[-3000:])
                    self.assertTrue(all_gone(job.pids.values()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
