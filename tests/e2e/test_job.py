"""`penstock` as several processes under mpirun: layouts, bad input, and ranks that are lost.

    python3 tests/e2e/test_job.py TEST_MODELS_DIR [--all] [unittest's arguments]

TEST_MODELS_DIR as tools/make_test_models.py makes it; build/penstock must be there. With --all every layout runs
with every family of models, else each layout with one of them in turn.

SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from jobs import BINARY, JOB_FLAGS, MPIRUN, Job, all_gone, ranks_on, run_job, why_no_mpi
from serving import ENVIRONMENT, ROOT, Server, free_port

sys.path.insert(0, str(ROOT / "tests/net"))
import chaos  # noqa: E402

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


class ServingTest(JobTestCase):
    """One job of four processes (pp2tp2)."""

    MODEL = "tiny-qwen3"

    def test_streams_aborts_metrics_and_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            job = Job(4, MODELS / self.MODEL, *FLAGS, "-pp", 2, "-tp", 2, "--trace-file", trace)
            with job:
                self.check_stream(job)
                self.check_abort(job)
                self.assertGreater(job.metric("vllm:prompt_tokens_total"), 0)
                busy = [line for line in job.request("GET", "/metrics")[2].splitlines() if "stage_busy" in line]
                self.assertGreaterEqual(len([line for line in busy if not line.startswith("#")]), 2, busy)
                self.assertEqual(complete(job, self.MODEL, prompts(self.MODEL)[0]), expected(self.MODEL)[0])
            self.assertEqual(job.stop(), 0, job.log_text()[-3000:])
            events = json.loads(trace.read_text())["traceEvents"]
            stages = {event["tid"] for event in events if event.get("cat") == "step"}
            self.assertGreaterEqual(len(stages), 2)

    def check_stream(self, job):
        body = {"model": str(MODELS / self.MODEL), "prompt": prompts(self.MODEL)[0], "max_tokens": NUM_TOKENS,
                "temperature": 0, "ignore_eos": True}
        events, done = job.stream("/v1/completions", body)
        self.assertTrue(done)
        text = "".join(choice["text"] for event in events for choice in event["choices"])
        self.assertEqual(text, expected(self.MODEL)[0][1])

    def check_abort(self, job):
        """A client leaves in the middle of its prompt (15 chunks), others while tokens come."""
        for prompt_tokens, max_tokens in ((960, 60), (64, 900)):
            for pause_s in (0, 0.01, 0.05, 0.2):
                body = json.dumps({"model": str(MODELS / self.MODEL), "prompt": [5 + i % 400 for i in range(prompt_tokens)],
                                   "max_tokens": max_tokens, "ignore_eos": True, "stream": True})
                raw = socket.create_connection(("127.0.0.1", job.port))
                raw.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                            .encode())
                time.sleep(pause_s)
                raw.close()
        self.assertTrue(job.wait_for(lambda: job.metric("vllm:num_requests_running") == 0, 10))
        self.assertTrue(job.wait_for(lambda: job.metric("vllm:kv_cache_usage_perc") == 0, 10))
        self.assertEqual(job.request("GET", "/health")[0], 200)

    def test_complete_says_the_same(self):
        """The command that serves nobody."""
        words = ["complete", MODELS / self.MODEL, "--prompt", "the river", "--max-tokens", 16, "--temperature", 0,
                 *FLAGS[:2], "--max-model-len", 512, "--num-gpu-blocks-override", 16]
        alone = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
        self.assertEqual(alone.returncode, 0, alone.stderr)
        job = run_job(2, *words, "-pp", 2)
        self.assertEqual((job.returncode, job.stdout), (0, alone.stdout), job.stderr)

    def test_bench_latency(self):
        job = run_job(2, "bench", "latency", MODELS / self.MODEL, "-pp", 2, "--input-len", 200, "--output-len", 2,
                      "--batch-size", 1, "--num-iters", 2, "--num-iters-warmup", 1, "--json")
        self.assertEqual(job.returncode, 0, job.stderr)
        report = json.loads(job.stdout)
        self.assertEqual((len(report["latencies"]), len(report["stage_busy_share"])), (2, 2))


class RefusedTest(JobTestCase):
    """What cannot run is one line of rank 0, and an end of all."""

    def refused(self, command, *expected_words):
        begun = time.monotonic()
        port = command[command.index("--port") + 1]
        job = subprocess.Popen([*MPIRUN, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=ENVIRONMENT)
        pids = set()
        while job.poll() is None and time.monotonic() - begun < 20:
            pids |= set(ranks_on(port).values())
            time.sleep(0.02)
        if job.poll() is None:
            job.kill()
        output, errors = job.communicate()
        self.assertNotIn(job.returncode, (0, -9), errors)
        self.assertLess(time.monotonic() - begun, 15)
        self.assertTrue(all_gone(pids))
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(lines), 1, errors)
        for word in expected_words:
            self.assertIn(word, lines[0], errors)
        self.assertEqual(output, "")

    def serve(self, n, model, *flags):
        return ["-n", n, BINARY, "serve", MODELS / model, "--port", free_port(), *JOB_FLAGS, *FLAGS, *flags]

    def test_layouts_that_do_not_divide(self):  # experts need not
        self.refused(self.serve(3, "tiny-llama", "-tp", 3), "heads")
        self.refused(self.serve(5, "tiny-llama", "-pp", 5), "layers", "5")

    def test_numbers_of_processes(self):
        self.refused(self.serve(3, "tiny-llama", "-pp", 2), "3 MPI processes", "2 ranks")
        self.refused(self.serve(4, "tiny-llama", "-pp", 2), "4 MPI processes", "2 ranks")
        self.refused(self.serve(2, "tiny-llama"), "2 MPI processes", "1 rank")

    def test_more_ranks_than_cores(self):
        cores = len(os.sched_getaffinity(0))
        words = self.serve(cores + 1, "tiny-llama", "-dp", cores + 1)
        words.remove("--allow-oversubscription")
        self.refused(words, "cores", "--allow-oversubscription")

    def test_ranks_that_differ(self):
        first = self.serve(1, "tiny-llama", "-pp", 2)
        other = [word if word != MODELS / "tiny-llama" else MODELS / "tiny-llama-f32" for word in first]
        self.refused([*first, ":", *other], "rank 1", "model")
        self.refused([*first, ":", *first, "--block-size", 32], "rank 1", "--block-size 32")
        self.refused([*first, ":", *first, "--no-such-flag"], "rank 1", "--no-such-flag")
        self.refused([*first, "--no-such-flag", ":", *first], "--no-such-flag")
        missing = [word if word != MODELS / "tiny-llama" else "/no-such-model" for word in first]
        self.refused([*first, ":", *missing], "rank 1", "no-such-model")
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "penstock"
            copy.write_bytes(BINARY.read_bytes() + b"other")
            copy.chmod(0o755)
            self.refused([*first, ":", *[word if word != BINARY else copy for word in first]], "rank 1", "program")

    def test_what_only_the_server_can_know(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            words = self.serve(2, "tiny-llama", "-pp", 2)
            words[words.index("--port") + 1] = port
            self.refused([*words, "--host", "127.0.0.1"], str(port))


class LostRankTest(JobTestCase):
    """tests/net/chaos.py says what is expected, and does it more often."""

    def lose(self, kind, rank, **more):
        report = chaos.lose(kind, rank, 0.5, MODELS / "tiny-qwen3", **more)
        self.assertEqual(report.problems, [], getattr(report, "log", ""))
        return report

    def test_killed(self):
        report = self.lose("kill", 2)
        self.assertGreater(report.errors, 0)

    def test_stopped(self):
        self.lose("stop", 1, processes=2, flags=("-pp", 2))

    def test_rank_0_killed(self):
        report = self.lose("kill", 0, processes=2, flags=("-tp", 2))
        self.assertLess(report.gone_s, 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
