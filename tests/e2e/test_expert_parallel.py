"""Replicas whose experts are spread over all of them, served over HTTP: texts, metrics, and recorded loads.

    python3 tests/e2e/test_expert_parallel.py PENSTOCK TEST_MODELS_DIR [MPIRUN]

SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import json
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import serving  # noqa: E402

PENSTOCK, MODELS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MPIRUN = sys.argv[3] if len(sys.argv) > 3 else None
serving.ENVIRONMENT.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
PROMPTS = ["The river rose in the hills and ran down to the sea. " * n + str(n) for n in (1, 5, 2, 9, 3, 1, 7)]
COMMON = ("--dtype", "float32", "--calibration", "off", "--max-num-batched-tokens", "64",
          "--num-gpu-blocks-override", "64", "--max-model-len", "256", "--allow-oversubscription",
          "--threads-per-rank", "1", "--no-enable-prefix-caching")


def complete(server, prompt):
    status, _, text = server.request("POST", "/v1/completions", {
        "model": "m", "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True})
    assert status == 200, text
    return json.loads(text)["choices"][0]["text"]


def serve(model, *flags, processes=1):
    """The texts of all prompts, asked for at the same time, and the page of metrics after that."""
    launcher = () if processes == 1 else (MPIRUN, "-n", processes, "--bind-to", "none", "--oversubscribe")
    with serving.Server(MODELS / model, "--served-model-name", "m", *COMMON, *flags, binary=PENSTOCK,
                        launcher=launcher) as server:
        with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
            texts = list(pool.map(lambda prompt: complete(server, prompt), PROMPTS))
        page = server.request("GET", "/metrics")[2]
        # mpirun that is told to end ends with an error.
        if server.stop() != 0 and processes == 1:
            raise AssertionError(server.log_text()[-3000:])
    return texts, page


def total(page, name, labels=""):
    """The sum of a metric's samples, and how many there are."""
    values = [float(value) for value in re.findall(rf"^{name}(?:{{.*{labels}.*}})? (\S+)$", page, re.MULTILINE)]
    return sum(values), len(values)


def routed(page):
    """Tokens routed to experts; of the last layer only those rows are computed that somebody wants, and a few more."""
    return total(page, "penstock:expert_tokens_total", 'layer="[0-2]"')[0]


class ExpertParallelTest(unittest.TestCase):
    def test_texts_are_those_of_one_rank(self):
        for model in ("tiny-qwen3-moe", "tiny-deepseek-v3-plain"):
            expected, page = serve(model)
            self.assertEqual(total(page, "penstock:expert_load_imbalance")[1], 0)
            routed = total(page, "penstock:expert_tokens_total")
            self.assertGreater(routed[0], 0)
            for flags in (("-dp", 2, "-tp", 1, "-ep"), ("-dp", 2, "-pp", 2, "-ep"), ("-tp", 2, "-ep"),
                          ("-dp", 2, "-tp", 2, "-ep", "--enable-sequence-parallel")):
                with self.subTest(model=model, flags=flags):
                    texts, page = serve(model, *flags)
                    self.assertEqual(texts, expected)
                    self.assertGreater(total(page, "penstock:comm_sent_bytes_total")[0], 0)
                    self.assertGreater(total(page, "penstock:expert_load_imbalance")[1], 0)

    def test_what_is_measured_at_start_is_not_counted(self):
        _, one = serve("tiny-qwen3-moe")
        _, page = serve("tiny-qwen3-moe", "-pp", 2, "--calibration", "always", "--calibration-seconds", 0.3)
        self.assertGreater(routed(one), 0)
        self.assertEqual(routed(page), routed(one))

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_processes_are_counted_together(self):
        expected, one = serve("tiny-qwen3-moe")
        for processes, flags in ((2, ("-tp", 2, "-ep")), (4, ("-dp", 2, "-pp", 2, "-ep"))):
            with self.subTest(processes=processes, flags=flags):
                texts, page = serve("tiny-qwen3-moe", *flags, processes=processes)
                self.assertEqual(texts, expected)
                self.assertEqual(routed(page), routed(one))
                handed = re.findall(r'group="handover"} (\S+)$', page, re.MULTILINE)
                self.assertTrue(all(float(value) > 0 for value in handed), handed)

    def test_8_bit_experts(self):
        for model in ("tiny-qwen3-moe-w8a8-dynamic", "tiny-deepseek-v3-w8a8-dynamic"):
            self.assertEqual(serve(model, "-dp", 2, "-ep")[0], serve(model)[0], model)

    def test_clients_that_leave_stop_nobody(self):
        expected, _ = serve("tiny-qwen3-moe")
        with serving.Server(MODELS / "tiny-qwen3-moe", "--served-model-name", "m", *COMMON, "-dp", 2, "-ep",
                            binary=PENSTOCK) as server:
            streams = [server.connect() for _ in range(4)]
            for stream in streams:
                stream.request("POST", "/v1/completions", json.dumps({
                    "model": "m", "prompt": PROMPTS[1], "max_tokens": 150, "ignore_eos": True, "stream": True}),
                               {"Content-Type": "application/json"})
                stream.getresponse().read(10)
            with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
                texts = pool.map(lambda prompt: complete(server, prompt), PROMPTS)
                for stream in streams:
                    stream.close()
                self.assertEqual(list(texts), expected)
            server.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 1})
            self.assertEqual(server.stop(), 0)

    def test_a_recorded_load_places_experts(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "load.json"
            expected, _ = serve("tiny-qwen3-moe", "--record-expert-load", path)
            load = json.loads(path.read_text())
            self.assertGreater(sum(map(sum, load["layers"].values())), 0)
            for processes in (1, 2) if MPIRUN else (1,):
                texts, page = serve("tiny-qwen3-moe", "-tp", 2, "-ep", "--expert-placement", path,
                                    "--num-redundant-experts", 2, "--enable-eplb", processes=processes)
                self.assertEqual(texts, expected)
                imbalance, count = total(page, "penstock:expert_load_imbalance")
                self.assertLess(imbalance / count, 1.1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
