"""The whole product, with real weights, real stages and real HTTP: SmolLM2 on two pipeline stages.

    python3 tests/e2e/test_server.py MODEL_DIR        (build/penstock must be there)

SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from serving import CACHE, ENVIRONMENT, ROOT, Server

MODEL = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else ROOT / "models/SmolLM2-135M-Instruct"
GREEDY = {"temperature": 0}
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
LONG_TEXT = "The river rose in the hills and ran down to the sea, and the people on its banks lived by it. " * 60


class ServerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(MODEL, "-pp", 2, "--max-model-len", 4096, "--max-num-batched-tokens", 256,
                            "--served-model-name", "smol", "alias")

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, f"exit status {code}\n{cls.server.log_text()[-3000:]}"

    def chat(self, **fields):
        return self.server.post("/v1/chat/completions", {"model": "smol", "messages": QUESTION, **GREEDY, **fields})

    def complete(self, prompt, **fields):
        return self.server.post("/v1/completions", {"model": "smol", "prompt": prompt, **GREEDY, **fields})

    def test_answers_a_question(self):
        answer = self.chat(max_tokens=40)
        self.assertIn("Paris", answer["choices"][0]["message"]["content"])
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertEqual(answer["usage"]["total_tokens"],
                         answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"])

    def test_stream_says_the_same_as_the_whole(self):
        events, done = self.server.stream("/v1/chat/completions", {
            "model": "smol", "messages": QUESTION, **GREEDY, "max_tokens": 40, "stream_options": {"include_usage": True}})
        self.assertTrue(done)
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(events[-1]["choices"], [])
        text = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
        whole = self.chat(max_tokens=40)
        self.assertEqual(text, whole["choices"][0]["message"]["content"])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])

    def test_the_second_model_name_works_and_an_unknown_one_does_not(self):
        self.assertEqual(self.chat(model="alias", max_tokens=1)["model"], "alias")
        status, _, text = self.server.request("POST", "/v1/chat/completions", {"model": "gpt", "messages": QUESTION})
        self.assertEqual(status, 404)
        self.assertIn("gpt", json.loads(text)["error"]["message"])

    def test_long_prompt_in_chunks_is_found_in_the_prefix_cache(self):
        first = self.complete(LONG_TEXT, max_tokens=16)
        hits = self.server.metric("vllm:prefix_cache_hits_total")
        second = self.complete(LONG_TEXT, max_tokens=16)
        self.assertEqual(first["choices"][0]["text"], second["choices"][0]["text"])
        self.assertGreater(first["usage"]["prompt_tokens"], 1000)  # several chunks of 256
        self.assertGreater(self.server.metric("vllm:prefix_cache_hits_total"), hits + 900)

    def test_requests_at_once_get_what_they_get_alone(self):
        prompts = [f"Count from {i} to {i + 5}:" for i in range(8)]
        alone = [self.complete(p, max_tokens=24)["choices"][0]["text"] for p in prompts]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda p: self.complete(p, max_tokens=24)["choices"][0]["text"], prompts))
        # bf16 rounding may differ between batch sizes: nearly all must agree to the letter, all in their beginning.
        self.assertGreaterEqual(sum(a == b for a, b in zip(alone, together)), 6)
        for a, b in zip(alone, together):
            self.assertEqual(a[:8], b[:8])

    def test_seeded_draws_repeat_and_n_gives_n(self):
        fields = dict(temperature=1.0, seed=7, max_tokens=12, n=3)
        first, second = self.chat(**fields), self.chat(**fields)
        texts = [c["message"]["content"] for c in first["choices"]]
        self.assertEqual(texts, [c["message"]["content"] for c in second["choices"]])
        self.assertEqual(len(set(texts)), 3)

    def test_stop_strings_and_token_ids(self):
        whole = self.complete("The days of the week are Monday,", max_tokens=12)["choices"][0]["text"]
        self.assertIn("Wednesday", whole)
        stopped = self.complete("The days of the week are Monday,", max_tokens=12, stop=["ednes"])["choices"][0]
        self.assertEqual(stopped["text"], whole[:whole.index("ednes")])
        self.assertEqual((stopped["finish_reason"], stopped["stop_reason"]), ("stop", "ednes"))

    def test_tokenize_and_detokenize_are_inverse(self):
        text = "Grüße, 世界! 🙂 def f(x):\n\treturn x"
        ids = self.server.post("/tokenize", {"model": "smol", "prompt": text, "add_special_tokens": False})["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"model": "smol", "tokens": ids})["prompt"], text)
        by_ids = self.complete(ids, max_tokens=4)
        self.assertEqual(by_ids["usage"]["prompt_tokens"], len(ids))
        self.assertEqual(by_ids["choices"][0]["text"], self.complete(text, max_tokens=4)["choices"][0]["text"])

    def test_logprobs_and_echo(self):
        answer = self.complete("One two three", max_tokens=1, echo=True, logprobs=1)["choices"][0]["logprobs"]
        self.assertIsNone(answer["token_logprobs"][0])
        self.assertTrue(all(p <= 0 for p in answer["token_logprobs"][1:]))
        self.assertEqual("".join(answer["tokens"][:3]), "One two three")

    def test_bad_requests_are_refused_and_lose_nothing(self):
        body = {"model": "smol", "messages": QUESTION}
        cases = [
            ("not json", "{"), ("type", {**body, "max_tokens": "x"}), ("range", {**body, "temperature": -1}),
            ("top_p", {**body, "top_p": 0}), ("n", {**body, "n": 100000}), ("messages", {"model": "smol"}),
            ("empty", {"model": "smol", "messages": []}), ("deep", "[" * 100000),
        ]
        for name, case in cases:
            status, _, text = self.server.request("POST", "/v1/chat/completions", case)
            self.assertEqual(status, 400, name)
            self.assertTrue(json.loads(text)["error"]["message"], name)
        status, _, text = self.server.request("POST", "/v1/completions", {"model": "smol", "prompt": [1, 10**6]})
        self.assertEqual(status, 400)
        status, _, text = self.server.request("POST", "/v1/completions", {"model": "smol", "prompt": [5] * 5000})
        self.assertEqual(status, 400)
        self.assertIn("maximum context length", json.loads(text)["error"]["message"])
        self.assertIn("Paris", self.chat(max_tokens=40)["choices"][0]["message"]["content"])

    def test_a_client_that_leaves_frees_its_request(self):
        body = json.dumps({"model": "smol", "prompt": LONG_TEXT[5:], "max_tokens": 2000, "ignore_eos": True, **GREEDY,
                           "stream": True})
        raw = socket.create_connection(("127.0.0.1", self.server.port))
        raw.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        self.assertTrue(self.server.wait_for(lambda: self.server.metric("vllm:num_requests_running") >= 1))
        raw.close()
        self.assertTrue(self.server.wait_for(lambda: self.server.metric("vllm:num_requests_running") == 0, 10))
        self.assertTrue(self.server.wait_for(lambda: self.server.metric("vllm:kv_cache_usage_perc") == 0, 10))

    def test_metrics_and_models(self):
        models = json.loads(self.server.request("GET", "/v1/models")[2])["data"]
        self.assertEqual([m["id"] for m in models], ["smol", "alias"])
        self.assertEqual(models[0]["max_model_len"], 4096)
        self.chat(max_tokens=2)
        self.assertGreater(self.server.metric("vllm:time_to_first_token_seconds_count"), 0)
        self.assertGreater(self.server.metric("vllm:prompt_tokens_total"), 0)


class GoldenTest(unittest.TestCase):
    """Log-probabilities of prompts beside transformers', through the whole server, by the same directory."""

    def test_prompt_logprobs(self):
        golden = json.loads((ROOT / "tests/golden/smollm2.json").read_text())
        reference = golden["bf16_reference_error"]  # of transformers' own bf16 run beside its fp32 run
        for dtype, max_error, rms_error in (("float32", 1e-3, 1e-4), ("bfloat16", 2 * reference["max"], 1.6 * reference["rms"])):
            errors = []
            with Server(MODEL, "-pp", 2, "--dtype", dtype, "--max-model-len", 2048, "--max-num-batched-tokens", 100,
                        "--max-num-seqs", 8) as server:
                for case in golden["cases"]:
                    answer = server.post("/v1/completions", {"model": str(MODEL), "prompt": case["prompt_ids"], "max_tokens": 1,
                                                             "temperature": 0, "prompt_logprobs": 0})
                    ours = [next(iter(entry.values()))["logprob"] for entry in answer["choices"][0]["prompt_logprobs"][1:]]
                    self.assertEqual(len(ours), len(case["logprobs"]))
                    errors += [a - b for a, b in zip(ours, case["logprobs"])]
            self.assertLess(max(map(abs, errors)), max_error, dtype)
            self.assertLess((sum(e * e for e in errors) / len(errors)) ** 0.5, rms_error, dtype)


class LifecycleTest(unittest.TestCase):
    def test_sigterm_drains_and_refuses(self):
        with Server(MODEL, "-pp", 2, "--max-model-len", 2048) as server:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                answer = pool.submit(server.post, "/v1/completions", {
                    "model": str(MODEL), "prompt": "Once upon a time", "max_tokens": 150, "ignore_eos": True})
                self.assertTrue(server.wait_for(lambda: server.metric("vllm:num_requests_running") == 1))
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(answer.result()["usage"]["completion_tokens"], 150)
            self.assertEqual(server.process.wait(20), 0)

    def test_a_second_sigterm_ends_at_once(self):
        with Server(MODEL, "--max-model-len", 2048) as server:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                answer = pool.submit(server.request, "POST", "/v1/completions", {
                    "model": str(MODEL), "prompt": "Once upon a time", "max_tokens": 1900, "ignore_eos": True})
                self.assertTrue(server.wait_for(lambda: server.metric("vllm:num_requests_running") == 1))
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                begun = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                server.process.wait(20)
                self.assertLess(time.monotonic() - begun, 5)
                try:
                    answer.result()
                except OSError:
                    pass

    def run_refused(self, *flags):
        result = subprocess.run([ROOT / "build/penstock", "serve", *map(str, flags)], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
        self.assertNotEqual(result.returncode, 0)
        return result.stdout + result.stderr

    def test_what_cannot_be_served_is_refused_with_the_reason(self):
        self.assertIn("--kv-cache-memory-bytes", self.run_refused(MODEL, "--kv-cache-memory-bytes", "900G"))
        self.assertIn("no-such-model", self.run_refused("/no-such-model"))
        self.assertIn("tensor-parallel-size", self.run_refused(MODEL, "-tp", 8))
        self.assertIn("layers", self.run_refused(MODEL, "-pp", 2, "--pp-layer-partition", "1,2"))
        self.assertIn("expected auto, float32 or int8",
                      self.run_refused(MODEL, "--dtype", "float32", "--kv-cache-dtype", "bfloat16"))
        self.assertIn("fp8", self.run_refused(MODEL, "--kv-cache-dtype", "fp8"))


class MemoryTest(unittest.TestCase):
    def test_the_server_holds_no_more_than_it_says(self):
        flags = ("-pp", 2, "--max-model-len", 4096, "--max-num-batched-tokens", 1024, "--num-gpu-blocks-override", 64,
                 "--calibration", "off")
        with Server(MODEL, *flags) as server:
            for seed in range(3):  # each fills the whole cache, and its context is four times a chunk
                prompt = [5 + (7 * seed + i) % 40_000 for i in range(3900)]
                body = {"model": str(MODEL), "prompt": prompt, "max_tokens": 4}
                self.assertEqual(server.request("POST", "/v1/completions", body)[0], 200)
            # On paper: 30 layers * 2 * 3 heads * 64 * 2 bytes = 23,040 for a token; the two stages together hold 64 blocks of 64.
            info = json.loads(server.request("GET", "/server_info")[2])["config"]
            self.assertEqual(info["kv_cache_memory_bytes"], 64 * 64 * 23_040)
            self.assertEqual(sum(info["layers_per_stage"]), 30)
            self.assertIn(" + KV cache 90.0 MiB = ", server.log_text())
            said = re.search(r"Memory: .* = ([\d.]+) MiB; ", server.log_text())
            peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{server.process.pid}/status").read_text())
            self.assertLess(int(peak[1]) / 1024, float(said[1]))
            self.assertGreater(int(peak[1]) / 1024, 300, "weights alone are more")


class MeasuredPipelineTest(unittest.TestCase):
    """The pipeline is measured once, and what was measured is kept."""

    FLAGS = ("-pp", 2, "--max-model-len", 1024, "--max-num-batched-tokens", 512, "--calibration-seconds", 1.5)

    def penstock(self, *words):
        result = subprocess.run([ROOT / "build/penstock", *map(str, words)], capture_output=True, text=True, timeout=300,
                                env=ENVIRONMENT)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout), result.stderr

    def test_measured_at_the_first_start_only(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "deep" / "fit.json"
            flags = (*self.FLAGS, "--cost-model", file)
            with Server(MODEL, *flags) as server:
                self.assertIn("Calibration took", server.log_text())
                self.assertRegex(server.log_text(), r"1024 +optimal +\d")  # the table of plans
                self.assertEqual(len(json.loads(file.read_text())["stages"]), 2)
            with Server(MODEL, *flags) as server:
                self.assertIn("no calibration", server.log_text())
                self.assertNotIn("Calibration took", server.log_text())
            with Server(MODEL, *flags, "--dtype", "float32") as server:
                self.assertRegex(server.log_text(), "is not used: .*dtype")
                self.assertIn("Calibration took", server.log_text())
            file.write_text("{ this is no JSON")
            with Server(MODEL, *flags) as server:
                self.assertIn("is not used", server.log_text())
                self.assertIn("Calibration took", server.log_text())

    def test_calibrate_keeps_it_for_serve(self):
        report, _ = self.penstock("calibrate", MODEL, *self.FLAGS, "--input-len", 700, "--num-requests", 2, "--json")
        self.assertEqual(len(report["stages"]), 2)
        self.assertEqual(len(report["ttfts_s"]), 2)
        self.assertGreater(report["unseen"]["num_samples"], 3)
        self.assertTrue(report["saved_to"].startswith(CACHE.name))
        with Server(MODEL, *self.FLAGS) as server:
            self.assertIn("no calibration", server.log_text())

    def fixed_model(self, folder):
        """A saved model of this pipeline with numbers that no machine has a say in."""
        file = pathlib.Path(folder) / "fit.json"
        with Server(MODEL, *self.FLAGS, "--cost-model", file):
            pass
        if not file.exists():
            self.skipTest("the pipeline was measured twice, and both times this machine was too busy")
        saved = json.loads(file.read_text())
        for stage in saved["stages"]:
            stage.update(dict.fromkeys(stage, 0.0), step_us=300.0, token_us=200.0, pair_us=0.05)
        file.write_text(json.dumps(saved))
        return file

    def test_policies_side_by_side(self):
        with tempfile.TemporaryDirectory() as folder:
            rows, _ = self.penstock(
                "bench", "latency", MODEL, *self.FLAGS, "--input-len", 1000, "--num-iters", 1, "--num-iters-warmup", 1,
                "--chunk-policy", "static,equal-latency,sglang,optimal", "--cost-model", self.fixed_model(folder), "--json")
        self.assertEqual([row["policy"] for row in rows], ["static", "equal-latency", "sglang", "optimal"])
        for row in rows:
            self.assertEqual(sum(row["chunks"]), 1000)
            for key in ("ttft_s", "efficiency", "predicted_ttft_s"):
                self.assertGreater(row[key], 0, key)
        self.assertEqual(rows[0]["chunks"], [512, 488])
        self.assertLess(rows[3]["chunks"][0], 512)

    def test_the_seeds_configuration(self):
        config = json.dumps({"profiling_chunk_config": {"enabled": True, "smooth_factor": 1.0, "min_chunk": 256}})
        with Server(MODEL, *self.FLAGS, "--additional-config", config) as server:
            self.assertRegex(server.log_text(), r"profiling_chunk_config \(smooth_factor 1, min_chunk 256\): predicted time")


if __name__ == "__main__":
    unittest.main(verbosity=2)
